package page_test

import (
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/page"
)

func TestAPageThatIsNotTrueIsNoticed(t *testing.T) {
	const (
		file   = "```text file=a/b.txt\nhello\nyou\n```\n"
		run    = "```sh run\ncat a/b.txt\n```\n"
		plain  = "```go\nfunc main() {}\n```\n"
		shown  = "```text out\nhello  you\n```\n"
		denied = "```sh run\ncat c.txt\n```\n"
	)
	for _, c := range []struct{ what, text, want string }{
		{"a page that is true", file + plain + run + shown + run, ""},
		{"other words are printed", file + run + "```text out\nhello me\n```\n", "the page shows\nhello me"},
		{"nothing is printed", file + run + shown + "```sh run\ntrue\n```\n" + shown, "the page shows\nhello  you"},
		{"a command fails", file + denied, "c.txt"},
		{"one of several commands fails", file + "```sh run\nfalse\ntrue\n```\n", "exit status 1"},
		{"words that mean nothing", file + run + "```sh ran\ntrue\n```\n", "sh ran"},
		{"nothing to run", file, "nothing to run"},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := page.Do(t.Context(), c.text, t.TempDir())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
