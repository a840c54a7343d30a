package lab_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft/host/lab"
)

func chance() func() float64 { return rand.New(rand.NewPCG(1, 2)).Float64 }

// The lesson: a row of five is a good rule while errors are rare, and shuts out
// a callee that has many; a rule by volume does neither harm.
func TestTheLessonOfThresholds(t *testing.T) {
	at := map[string]map[float64]lab.Outcome{}
	for _, o := range lab.Sweep(lab.Backgrounds(), chance) {
		if at[o.Setting] == nil {
			at[o.Setting] = map[float64]lab.Outcome{}
		}
		at[o.Setting][o.Errors] = o
	}
	none, row, volume, quick := at["no breaker"], at["5 in a row, open 30s"], at["volume rule, open 30s"], at["volume rule, open 5s"]
	if none[0.3].Refused != 0 || none[0.3].Sick != 6*60*lab.PerSecond {
		t.Errorf("no breaker: %+v", none[0.3])
	}
	if row[0.01].Refused > 0.02 || row[0.3].Refused < 0.7 {
		t.Errorf("a row of five refuses %.3f at 1%% and %.3f at 30%%", row[0.01].Refused, row[0.3].Refused)
	}
	if volume[0.3].Refused > 0.1 || quick[0.3].Refused > 0.02 {
		t.Errorf("the volume rule refuses %.3f and %.3f at 30%%", volume[0.3].Refused, quick[0.3].Refused)
	}
	if none[0.3].Available-quick[0.3].Available > 0.02 {
		t.Errorf("the volume rule costs %.3f of the calls", none[0.3].Available-quick[0.3].Available)
	}
	if volume[0.1].Sick > none[0.1].Sick/20 {
		t.Errorf("%d calls went to a callee that was away", volume[0.1].Sick)
	}
	if quick[0.1].Recovery > 5*time.Second || volume[0.1].Recovery > 36*time.Second {
		t.Errorf("it is found again after %s and %s", quick[0.1].Recovery, volume[0.1].Recovery)
	}
}

func TestThePlotIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(lab.Plot(chance)))
	lines := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 5 {
		t.Errorf("%d lines", lines)
	}
}
