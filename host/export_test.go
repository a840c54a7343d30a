package host

// CheckBy has modules checked by another command than this program.
func CheckBy(command []string) { checker = command }
