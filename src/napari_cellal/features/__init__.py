"""What a cell is described by: its picture and its measurements."""
