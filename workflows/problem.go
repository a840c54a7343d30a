package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a source, where it stands, and what
// to write instead.
type Problem struct {
	File         string
	Line, Column int    // from 1; a column counts characters
	Key          string // the key it is about, may be empty
	Message      string
	Hint         string // may be empty
}

// Error is "file:line:column: message; hint".
func (p Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// Problems is all that is wrong in a source, in order of position. It is the
// error of Parse and of Definition.Pin.
type Problems []Problem

// ProblemsMax bounds what one Parse reports.
const ProblemsMax = 50

// Error has one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return ps[:min(len(ps), ProblemsMax)]
}

// Nearest is the name of the list that s is probably a slip of, or "".
func Nearest(s string, names []string) string {
	best, bestAt := "", 3
	for _, name := range names {
		if strings.EqualFold(name, s) {
			return name
		}
		if long := len(s) - len(name); long >= bestAt || -long >= bestAt {
			continue // such a distance cannot be small: do not measure it
		}
		if d := distance(s, name); d < bestAt && d < len(name)/2+1 && d < len(s) {
			best, bestAt = name, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, change or swap to get from a to b.
func distance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
