// Command is a plain program: it writes its input in capitals, or panics.
package main

import (
	"bytes"
	"io"
	"os"
)

func main() {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	if len(in) == 0 {
		panic("there is no input")
	}
	os.Stdout.Write(bytes.ToUpper(in))
}
