package meter

import (
	"flag"
	"os/exec"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/plant"
)

var plantsMax = flag.Int("plants", 1, "planted bugs that TestPlantedBugsAreFound tries")

// plants are bugs: one text in the place of another.
var plants = []struct{ name, file, text, bug string }{
	{"a return leaves one block too few", "body.go", "b.op(opBr, uint32(len(b.frames)-1))", "b.op(opBr, uint32(max(0, len(b.frames)-2)))"},
	{"sizes are kept in a local of the guest", "body.go", "return uint32(b.locals) + 2 }", "return uint32(max(0, b.locals-1)) }"},
	{"a reference to a function does not move", "meter.go", "w = appendU32(append(w, op), m.function(r.u32()))", "w = appendU32(append(w, op), r.u32())"},
	{"the depth is not given back", "body.go", "b.w = append(appendSigned(append(b.w, opI64Const), frame), opI64Add)", "b.w = append(append(b.w, opI64Const, 0), opI64Add)"},
	{"elements of a segment do not move", "meter.go", "w = appendU32(w, m.function(r.u32()))\n\t\t\t}", "w = appendU32(w, r.u32())\n\t\t\t}"},
	{"a turn of a loop is paid to the half", "body.go", "return b.path - to.before", "return (b.path - to.before + 1) / 2"},
	{"a table may not grow to its limit", "meter.go", "most = min(most, r.u32())", "most = min(most, r.u32()-1)"},
	{"the pieces of a copy begin at the wrong end", "pieces.go", "opLocalGet, pieceFrom, opI32GtU, opIf", "opLocalGet, pieceFrom, opI32LeU, opIf"},
	{"a range that ends outside of memory is begun", "pieces.go", "b.leaveOutside(pieceTo, b.memoryBytes)\n\tswitch", "switch"},
}

// TestPlantedBugsAreFound builds this package again with a bug in the rewriting,
// and wants the comparison to find it, or the count of what is done.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, p := range plants[:min(*plantsMax, len(plants))] {
		t.Run(p.name, func(t *testing.T) {
			list := plant.Overlay(t, p.file, p.text, p.bug)
			out, err := exec.Command("go", "test", "-count=1", "-timeout", "20m", "-failfast", "-overlay", list, "-run", "OfChance", "-v", ".").CombinedOutput()
			if err == nil || !strings.Contains(string(out), ": seed ") {
				t.Errorf("it was not found: %v\n%s", err, out)
			}
		})
	}
}
