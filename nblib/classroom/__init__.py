"""For teachers: the student edition, a page about teaching the series, and the collection of what is handed in."""
