package host

import (
	"math/rand/v2"

	"github.com/weftrun/weft/host/lab"
)

// LabOutcome is what a breaker came to in an experiment.
type LabOutcome = lab.Outcome

// LabBreakers tries breakers in virtual time, each with the chance of a seed.
func LabBreakers(seed uint64) []LabOutcome { return lab.Sweep(lab.Backgrounds(), seeded(seed)) }

// LabBreakersPlot is the same as a picture, in SVG.
func LabBreakersPlot(seed uint64) string { return lab.Plot(seeded(seed)) }

func seeded(seed uint64) func() func() float64 {
	return func() func() float64 { return rand.New(rand.NewPCG(seed, 2)).Float64 }
}
