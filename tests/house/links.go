package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	silent  = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`) // what an anchor leaves out of a heading
)

// Links are the relative links of a page that lead nowhere, to a file or to a
// heading.
func Links(file string) (dead []string, err error) {
	text, err := page(file)
	if err != nil {
		return nil, err
	}
	for _, link := range linked.FindAllStringSubmatch(text, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(link[1], "#")
		target := file
		if path != "" {
			target = filepath.Join(filepath.Dir(file), filepath.FromSlash(path))
		}
		if !exists(target) {
			dead = append(dead, fmt.Sprintf("%s: there is no %s", file, link[1]))
			continue
		}
		if anchor == "" {
			continue
		}
		there, err := page(target)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(anchors(there), anchor) {
			dead = append(dead, fmt.Sprintf("%s: there is no heading for %s", file, link[1]))
		}
	}
	return dead, nil
}

// page is a page without its blocks of code.
func page(file string) (string, error) {
	text, err := os.ReadFile(file)
	return fenced.ReplaceAllString(string(text), ""), err
}

func anchors(text string) (all []string) {
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		words := silent.ReplaceAllString(strings.ToLower(h[1]), "")
		all = append(all, strings.ReplaceAll(words, " ", "-"))
	}
	return all
}
