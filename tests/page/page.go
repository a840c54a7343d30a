// Package page does what a page of Markdown tells its reader to do. A block of
// code with words after its language is for it:
//
//	```go file=main.go   is written to that file
//	```sh run            is run by sh
//	```text out          is what the commands before it print
package page

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	if err := write(file, text); err != nil {
		t.Fatal(err)
	}
}

func write(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

// Tool is a program that a page needs: its name there, commands that print where it
// is, and how it is got.
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

// Do follows a page in dir, with env in the environment. What does not go as the page
// says is an error; of what is printed spaces do not count.
func Do(ctx context.Context, text, dir string, env ...string) error {
	ran, said := false, ""
	for _, b := range Blocks(text) {
		name, isFile := b.File()
		var err error
		switch {
		case isFile:
			err = write(filepath.Join(dir, name), b.Text)
		case b.Language+" "+b.Words == "sh run":
			ran = true
			said, err = sh(ctx, dir, b.Text, env)
		case b.Words != "out":
			err = fmt.Errorf("a block is not a file, nor run, nor what is printed: %s %s", b.Language, b.Words)
		case !slices.Equal(strings.Fields(said), strings.Fields(b.Text)):
			err = fmt.Errorf("printed\n%s\nand the page shows\n%s", said, b.Text)
		}
		if err != nil {
			return err
		}
	}
	if !ran {
		return errors.New("the page has nothing to run")
	}
	return nil
}

// sh is what commands print; they have to end well.
func sh(ctx context.Context, dir, commands string, env []string) (string, error) {
	run := exec.CommandContext(ctx, "sh", "-eu", "-c", commands)
	run.Dir, run.Env = dir, append(os.Environ(), env...)
	said, err := run.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", commands, err, said)
	}
	return string(said), err
}
