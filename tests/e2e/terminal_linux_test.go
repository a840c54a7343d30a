package e2e_test

import (
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// terminal runs a program on a terminal; its output is what the terminal got.
func terminal(ts *testscript.TestScript, _ bool, args []string) {
	control, tty, err := openTerminal()
	ts.Check(err)
	defer control.Close()
	cmd := program(ts, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	err = cmd.Start()
	tty.Close()
	ts.Check(err)
	_, _ = io.Copy(ts.Stdout(), control) // ends with an error once nobody has the terminal open
	ts.Check(cmd.Wait())
}

func openTerminal() (control, tty *os.File, err error) {
	if control, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		control.Close()
	}
	return control, tty, err
}
