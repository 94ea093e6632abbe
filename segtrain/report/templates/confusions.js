// Confusion matrices: a cell shows its images, which link into the gallery; the arrow keys go from cell to cell.
function nameCell(table, row, column, count) {
  const last = table.tBodies[0].rows.length - 1;
  const rowName = table.tBodies[0].rows[row].cells[0].textContent;
  const columnName = table.tHead.rows[0].cells[column + 1].textContent;
  const objects = `${count} object${count === "1" ? "" : "s"}`;
  if (row === last) return [`${columnName} found where there is no object`, `${count} time${count === "1" ? "" : "s"}`];
  if (column === last) return [`${rowName} missed`, objects];
  return [rowName === columnName ? `${rowName} found as such` : `${rowName} taken for ${columnName}`, objects];
}

function showCellImages(box, button, table, listed) {
  const [row, column] = button.dataset.cell.split(" ").map(Number);
  const [label, count] = nameCell(table, row, column, button.firstChild.textContent);
  const [number, atLeast, ...places] = listed.cells[button.dataset.cell] ?? [0, 0];
  const names = places.map((place) => listed.names[place]);
  const inGallery = names.filter((name) => cardOf(name));
  const others = names.filter((name) => !cardOf(name));
  const line = (...content) => { const p = document.createElement("p"); p.append(...content); return p; };
  const press = (text, action) => {
    const made = document.createElement("button");
    made.type = "button"; made.textContent = text; made.addEventListener("click", action);
    return made;
  };
  const cell = { label: `${label}, by ${listed.method}`, truth: listed.groups[row], found: listed.groups[column],
    isMissed: column === listed.groups.length - 1, isFalse: row === listed.groups.length - 1 };
  const head = number ? `${label}: ${count}, in ${atLeast ? "at least " : ""}${number} image${number === 1 ? "" : "s"}.`
    : `${label}: ${count}. These results do not name the images; evaluate again.`;
  const lines = [line(head)];
  if (inGallery.length) {
    lines.push(line("In the gallery: ", ...inGallery.map((name) => press(name, () => showCell(listed.method, cell, name)))));
    lines.push(line(press("Show these objects in the gallery", () => showCell(listed.method, cell, null))));
  }
  if (others.length) lines.push(line(`Not in the gallery: ${others.join(", ")}.`));
  const left = number - names.length;
  if (left > 0) lines.push(line(`${left} more ${left === 1 ? "image is" : "images are"} named neither here nor in results.json, which list the images with most such objects.`));
  box.replaceChildren(...lines);
  box.hidden = false;
}

for (const table of document.querySelectorAll("table.matrix")) {
  const buttons = [...table.querySelectorAll("button[data-cell]")];
  if (!buttons.length) continue;
  const source = table.closest(".scroll").nextElementSibling;
  const listed = JSON.parse(source.textContent);
  // One stop of the tab key for the whole matrix.
  const enter = (button) => buttons.forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
  enter(buttons[0]);
  for (const button of buttons) {
    button.addEventListener("focus", () => enter(button));
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      showCellImages(source.nextElementSibling, button, table, listed);
    });
  }
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !event.target.dataset.cell || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    let [row, column] = event.target.dataset.cell.split(" ").map(Number);
    for (let next = null; !next; ) {
      row += step[0]; column += step[1];
      if (row < 0 || column < 0 || row >= listed.groups.length || column >= listed.groups.length) return;
      next = table.querySelector(`button[data-cell="${row} ${column}"]`);
      next?.focus();
    }
  });
}
