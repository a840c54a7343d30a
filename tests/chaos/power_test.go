package chaos_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/weftrun/weft/tests/chaos"
)

// How much is tried: a little with each change, more with make test-power.
var (
	images = flag.Int("images", 60, "power cuts under load")
	rounds = flag.Int("rounds", 4, "what each of 16 workers does in a recording")
	seed   = flag.Uint64("seed", 1, "of the cuts; the load itself is never the same twice")
)

var rig *chaos.Rig

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weft-chaos")
	if err == nil {
		defer os.RemoveAll(dir)
		rig, err = chaos.NewRig(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func chance() *rand.Rand { return rand.New(rand.NewPCG(*seed, 0)) }

// load is what a recording under load does. Checkpoints come often, for most
// of what can go wrong is there.
func load(sync string) chaos.Job {
	return chaos.Job{Do: "load", Name: "a", Sync: sync, Checkpoint: 20 * time.Millisecond, Workers: 16, Rounds: *rounds}
}

func record(t *testing.T, job chaos.Job, files map[string][]byte) chaos.Recording {
	t.Helper()
	rec, err := rig.Record(t.Context(), job, files)
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Complete(); err != nil {
		t.Fatalf("the recorder has missed something: %v", err)
	}
	return rec
}

func cut(t *testing.T, rec chaos.Recording, points []chaos.Point) chaos.Power {
	t.Helper()
	p, err := rig.CutPower(t.Context(), rec, points, chance())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d images, %d of them in a checkpoint, %d finished; %d acknowledgements, %d syncs; %d lost in %d images, %d images wrong",
		p.Images, p.InCheckpoint, p.Finished, p.Acks, p.Syncs, p.Lost, p.Losing, p.Wrong)
	return p
}

func TestAPowerCutLosesNothingAcknowledged(t *testing.T) {
	rec := record(t, load("full"), rig.Base)
	p := cut(t, rec, chaos.Points(rec.Ops, *images, chance()))
	if p.Lost != 0 || p.Wrong != 0 {
		t.Errorf("%q", p.First)
	}
	if p.Acks < 100 || p.InCheckpoint < *images/8 {
		t.Errorf("too little was tried: %+v", p)
	}
}

// The control: what is known to lose must be seen to lose. It stays whole, though.
func TestAPowerCutIsSeenToLoseWithSyncNormal(t *testing.T) {
	rec := record(t, load("normal"), rig.Base)
	p := cut(t, rec, chaos.Points(rec.Ops, *images/3, chance()))
	if p.Losing < p.Images/10 {
		t.Errorf("only %d of %d images lose something: the method is blind", p.Losing, p.Images)
	}
	if p.Wrong != 0 {
		t.Errorf("%q", p.First)
	}
}

// The tables are made in one transaction; whatever a cut leaves of it, the
// file opens.
func TestAPowerCutWhileTheFileIsMadeLeavesAFileThatOpens(t *testing.T) {
	for _, sync := range []string{"full", "normal"} {
		rec := record(t, chaos.Job{Do: "open", Sync: sync, Checkpoint: time.Millisecond, Rounds: 3}, nil)
		points := chaos.EveryPoint(rec.Ops)
		if n := *images; n < len(points) {
			chance().Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
			points = points[:n]
		}
		p := cut(t, rec, points)
		if p.Wrong != 0 || p.Lost != 0 && sync == "full" {
			t.Errorf("sync %s: %q", sync, p.First)
		}
	}
}
