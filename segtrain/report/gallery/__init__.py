"""Gallery of a report: selection and encoding of its images."""
