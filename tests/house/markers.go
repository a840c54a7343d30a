package house

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Markers are the lines of a text file at which git has left a conflict. A file that is no
// text has none.
func Markers(file string) (found []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return nil, err
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		for _, side := range []string{"<", ">"} {
			if bytes.HasPrefix(line, []byte(strings.Repeat(side, 7)+" ")) {
				found = append(found, fmt.Sprintf("%s:%d: %s", file, n, bytes.TrimSpace(line)))
			}
		}
	}
	return found, nil
}
