class SharedArray:
    def __init__(self, array): self.array = array
