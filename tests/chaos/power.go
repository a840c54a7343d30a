package chaos

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Point is one power cut: after so many ops of a record, and what it does.
// Finish has every run go on to its end from there.
type Point struct {
	At     int
	Cut    Cut
	Finish bool
}

// finishEvery is the share of power cuts from which the runs go on.
const finishEvery = 20

// Power is what a number of power cuts did.
type Power struct {
	Images       int // files made and opened
	Finished     int // of them, those from which all runs went on to their end
	InCheckpoint int // of them, cut between the first write of a checkpoint and its sync
	Acks         int // acknowledgements in the record
	Syncs        int
	Losing       int // images in which something acknowledged is lost
	Lost         int // acknowledgements lost, over all images
	Wrong        int // images that are damaged or in which something is doubled
	First        []string
}

// Points picks power cuts in a record, a quarter each: right after an
// acknowledgement, right after a sync, within a checkpoint, and anywhere.
func Points(ops []Op, n int, chance *rand.Rand) []Point {
	var places [4][]int
	checkpoint := inCheckpoint(ops)
	for i, o := range ops {
		places[3] = append(places[3], i+1)
		switch {
		case o.Kind == OpAck:
			places[0] = append(places[0], i+1)
		case o.Kind == opSynced:
			places[1] = append(places[1], i+1)
		case checkpoint[i]:
			places[2] = append(places[2], i+1)
		}
	}
	var points []Point
	for i := range n {
		if from := places[i%4]; len(from) > 0 {
			points = append(points, Point{At: from[chance.IntN(len(from))], Cut: Cut(i / 4 % int(cuts)), Finish: i%finishEvery == 0})
		}
	}
	return points
}

// EveryPoint is each op of a record with each way to cut.
func EveryPoint(ops []Op) (points []Point) {
	for i := range ops {
		for cut := range cuts {
			points = append(points, Point{At: i + 1, Cut: cut})
		}
	}
	return points
}

// LastPoints are power cuts after the last op, in every way; after the first of
// them all runs go on to their end.
func LastPoints(ops []Op, n int) (points []Point) {
	for i := range max(n, int(cuts)) {
		points = append(points, Point{At: len(ops), Cut: Cut(i % int(cuts)), Finish: i == 0})
	}
	return points
}

// inCheckpoint says of each op whether the database file has writes after it
// that no sync has made safe.
func inCheckpoint(ops []Op) []bool {
	in := make([]bool, len(ops))
	open := false
	for i, o := range ops {
		if strings.HasSuffix(o.Name, ".db") {
			open = o.Kind == opWrite || open && o.Kind != opSynced
		}
		in[i] = open
	}
	return in
}

// CutPower makes the images of these points and judges each.
func (r *Rig) CutPower(ctx context.Context, rec Recording, points []Point, chance *rand.Rand) (p Power, err error) {
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.At, b.At) })
	disk := NewDisk(rec.Before)
	checkpoint := inCheckpoint(rec.Ops)
	acks, err := rec.Acks()
	if err != nil {
		return p, err
	}
	told := 0
	for i, o := range rec.Ops {
		if err := disk.Do(o); err != nil {
			return p, err
		}
		switch o.Kind {
		case OpAck:
			told++
		case opSynced:
			p.Syncs++
		}
		for ; len(points) > 0 && points[0].At == i+1; points = points[1:] {
			if checkpoint[i] {
				p.InCheckpoint++
			}
			if err := r.try(ctx, &p, disk.After(points[0].Cut, chance), points[0], acks[:told], chance); err != nil {
				return p, err
			}
		}
	}
	p.Acks = len(acks)
	return p, nil
}

// try judges an image, and again when its runs have gone on.
func (r *Rig) try(ctx context.Context, p *Power, files map[string][]byte, at Point, acks []Ack, chance *rand.Rand) error {
	if chance.IntN(2) == 0 {
		files["weft.db-shm"] = noise(32<<10, chance) // nobody syncs it: it may hold anything
	}
	v, err := r.judge(ctx, files, acks)
	if err != nil {
		return err
	}
	p.Images++
	what := fmt.Sprintf("cut after op %d, %s", at.At, at.Cut)
	if at.Finish {
		if files, err = r.finish(ctx, files); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		after, err := r.judge(ctx, files, acks)
		if err != nil {
			return err
		}
		if after.Going > 0 {
			after.wrong("%d runs have not gone on to their end", after.Going)
		}
		p.Finished++
		v.Lost, v.Wrong = append(v.Lost, after.Lost...), append(v.Wrong, after.Wrong...)
	}
	p.count(what, v)
	return nil
}

func noise(n int, chance *rand.Rand) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(chance.Uint32())
	}
	return data
}

func (p *Power) count(what string, v Verdict) {
	p.Lost += len(v.Lost)
	if len(v.Lost) > 0 {
		p.Losing++
	}
	if len(v.Wrong) > 0 {
		p.Wrong++
	}
	if all := append(v.Wrong, v.Lost...); len(all) > 0 && len(p.First) < 10 {
		p.First = append(p.First, fmt.Sprintf("%s: %d wrong, %d lost: %s", what, len(v.Wrong), len(v.Lost), all[0]))
	}
}

// Acks are all acknowledgements of the record, in order.
func (rec Recording) Acks() (acks []Ack, err error) {
	for _, o := range rec.Ops {
		if o.Kind != OpAck {
			continue
		}
		var a Ack
		if err := json.Unmarshal(o.Data, &a); err != nil {
			return nil, err
		}
		acks = append(acks, a)
	}
	return acks, nil
}

// Then is the recording with another behind it, of a process that began with
// what this one left: it was killed, and the power stayed.
func (rec Recording) Then(next Recording) Recording {
	return Recording{Before: rec.Before, Ops: slices.Concat(rec.Ops, next.Ops), After: next.After}
}

// Complete reports where the record and the files that the process left
// differ: nothing, or the recorder has missed something.
func (rec Recording) Complete() error {
	disk := NewDisk(rec.Before)
	for _, o := range rec.Ops {
		if err := disk.Do(o); err != nil {
			return err
		}
	}
	files := disk.After(Kept, rand.New(rand.NewPCG(0, 0)))
	for name, data := range rec.After {
		if !bytes.Equal(files[name], data) {
			return fmt.Errorf("%s has %d bytes, and not the %d of the record", name, len(data), len(files[name]))
		}
	}
	if len(files) != len(rec.After) {
		return fmt.Errorf("%d files are there, and the record has %d", len(rec.After), len(files))
	}
	return nil
}
