package wasm

import "os"

// How the program itself is told which of its children it is.
const (
	checkArg  = "__check"
	workerArg = "__worker"
)

// Child is what a program begins with that opens a Runtime: where it has been started
// to check an upload, or to run calls, it does that and exits.
func Child() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case checkArg:
		CheckMain()
	case workerArg:
		WorkerMain()
	}
}
