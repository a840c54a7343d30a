// Package page does what a page of Markdown tells its reader to do. A block of
// code with words after its language is for it:
//
//	```go file=main.go   is written to that file
//	```sh run            is run by sh
//	```text out          is what the commands before it print
package page

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Block is a fenced block with words after its language.
type Block struct{ Language, Words, Text string }

var fence = regexp.MustCompile("(?ms)^```(\\w+) ([^\n]+)\n(.*?)^```$")

// Blocks are those of a page, in its order.
func Blocks(text string) (all []Block) {
	for _, f := range fence.FindAllStringSubmatch(text, -1) {
		all = append(all, Block{f[1], f[2], f[3]})
	}
	return all
}

// File is where the text of the block goes, if it goes to a file.
func (b Block) File() (name string, is bool) { return strings.CutPrefix(b.Words, "file=") }

// Write writes a file, and makes its folder.
func Write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Tool is a program that a page needs: its name there, commands that print where it is, and
// how it is got.
type Tool struct{ Name, Find, Missing string }

// At is where the tool is, or empty. Find is run in dir.
func (l Tool) At(t *testing.T, dir string) string {
	t.Helper()
	look := exec.Command("sh", "-c", l.Find)
	look.Dir = dir
	found, _ := look.Output() // not found is an error too
	path := strings.TrimSpace(string(found))
	if path != "" && !filepath.IsAbs(path) {
		path, _ = exec.LookPath(path)
	}
	return path
}

// Path is a folder with the tools by their names, for the PATH to begin with. The
// test is skipped where one is missing.
func Path(t *testing.T, dir string, tools ...Tool) string {
	t.Helper()
	bin := t.TempDir()
	for _, l := range tools {
		path := l.At(t, dir)
		if path == "" {
			t.Skipf("missing: %s", l.Missing)
		}
		if err := os.Symlink(path, filepath.Join(bin, l.Name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// Do follows a page in dir, with env in the environment.
func Do(t *testing.T, text, dir string, env ...string) {
	t.Helper()
	ran, said := false, ""
	for _, b := range Blocks(text) {
		name, isFile := b.File()
		switch {
		case isFile:
			Write(t, filepath.Join(dir, name), b.Text)
		case b.Language+" "+b.Words == "sh run":
			ran, said = true, sh(t, dir, b.Text, env)
		case b.Words == "out":
			if got, want := strings.Fields(said), strings.Fields(b.Text); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("printed\n%s\nand the page shows\n%s", said, b.Text)
			}
			said = ""
		default:
			t.Errorf("a block is not a file, nor run, nor what is printed: %s %s", b.Language, b.Words)
		}
	}
	if !ran {
		t.Error("the page has nothing to run")
	}
}

// sh is what commands print; they have to end well.
func sh(t *testing.T, dir, commands string, env []string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), "sh", "-eu", "-c", commands)
	run.Dir, run.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, out.String())
	}
	return out.String()
}
