// Package lab holds experiments that a user can repeat: what a setting does, in
// virtual time.
package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weftrun/weft/host/breaker"
)

// The world of the experiment: calls come evenly, the callee is away for the
// last minute of every ten, when each call takes its whole time, and otherwise a
// share of the calls fails by itself.
const (
	Lasts      = time.Hour
	PerSecond  = 50
	every      = time.Second / PerSecond
	cycle      = 10 * time.Minute
	awayFrom   = 9 * time.Minute
	tookWell   = 5 * time.Millisecond
	tookAway   = time.Second
	manyErrors = 0.4 // the largest background of errors in the plot
)

// Setting is a breaker to try; without a policy there is none.
type Setting struct {
	Name   string
	Policy *breaker.Policy
}

// Settings are what Sweep tries: rows of failures alone, and with the volume
// rule, each with two open times.
func Settings() []Setting {
	list := []Setting{{Name: "no breaker"}}
	for _, open := range []time.Duration{5 * time.Second, 30 * time.Second} {
		for _, row := range []int{1, 3, 5, 10, 20} {
			list = append(list, Setting{fmt.Sprintf("%d in a row, open %s", row, open), &breaker.Policy{Failures: row, Volume: 1 << 30, Open: open}})
		}
		list = append(list, Setting{fmt.Sprintf("volume rule, open %s", open), &breaker.Policy{Open: open}})
	}
	return list
}

// Outcome is what a setting came to at a background of errors.
type Outcome struct {
	Setting   string        `json:"setting"`
	Errors    float64       `json:"errors"`       // share of calls that fail by themselves
	Available float64       `json:"available"`    // share of all calls that went well
	Refused   float64       `json:"refused"`      // share of the calls to a callee that was there
	Sick      int           `json:"sickCalls"`    // that were made while it was away
	Recovery  time.Duration `json:"recoveryMean"` // from its return to the first call that went well
}

var errFailed = errors.New("failed")

// call is one that has not ended.
type call struct {
	breaker.Call
	ends time.Time
	err  error
}

// Try lives an hour with a setting. chance gives numbers from 0 to below 1; the
// same chance gives the same hour.
func Try(s Setting, background float64, chance func() float64) Outcome {
	begun := time.Unix(0, 0)
	var b *breaker.Breaker
	if s.Policy != nil {
		b = breaker.New(*s.Policy, chance, begun)
	}
	var well, away []call // under way; each in the order of their ends
	var calls, good, healthy, refused, sick, returns int
	var recovery time.Duration
	var back time.Time // when the callee came back, until a call goes well
	end := func(list []call, now time.Time) []call {
		for len(list) > 0 && !list[0].ends.After(now) {
			c := &list[0]
			if b != nil {
				b.Done(&c.Call, c.err, c.ends, true)
			}
			if c.err == nil && !back.IsZero() {
				recovery, returns, back = recovery+c.ends.Sub(back), returns+1, time.Time{}
			}
			list = list[1:]
		}
		return list
	}
	for at := time.Duration(0); at < Lasts; at += every {
		now := begun.Add(at)
		gone := at%cycle >= awayFrom
		if at%cycle == 0 && at > 0 {
			back = now
		}
		well, away = end(well, now), end(away, now)
		fails := chance() < background
		calls++
		if !gone {
			healthy++
		}
		c, ok := breaker.Call{}, true
		if b != nil {
			c, ok = b.Allow(now)
		}
		switch {
		case !ok && !gone:
			refused++
		case ok && gone:
			sick++
			away = append(away, call{c, now.Add(tookAway), errFailed})
		case ok && fails:
			well = append(well, call{c, now.Add(tookWell), errFailed})
		case ok:
			good++
			well = append(well, call{c, now.Add(tookWell), nil})
		}
	}
	return Outcome{s.Name, background, float64(good) / float64(calls), float64(refused) / float64(healthy), sick, recovery / time.Duration(max(returns, 1))}
}

// Sweep tries all settings at each background of errors, with chance of a seed.
func Sweep(backgrounds []float64, chance func() func() float64) (all []Outcome) {
	for _, p := range backgrounds {
		for _, s := range Settings() {
			all = append(all, Try(s, p, chance()))
		}
	}
	return all
}

// Backgrounds are the shares of errors of the table.
func Backgrounds() []float64 { return []float64{0.01, 0.1, 0.3} }

const plotSteps = 8

// Plot is an SVG of the availability over the background of errors, for the
// settings that tell the lesson.
func Plot(chance func() func() float64) string {
	const left, top, wide, high = 60, 30, 560, 300
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="860" height="400" font-family="sans-serif" font-size="12">`+"\n")
	fmt.Fprintf(&out, `<rect width="860" height="400" fill="white"/><text x="%d" y="18" font-size="14">Calls that go well, by the share of errors that the callee has anyway</text>`+"\n", left)
	for i := range 5 {
		y, x := top+high*i/4, left+wide*i/4
		fmt.Fprintf(&out, `<path d="M%d %dh%d" stroke="#ddd"/><text x="%d" y="%d" text-anchor="end">%d%%</text>`+"\n", left, y, wide, left-6, y+4, 100-25*i)
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="middle">%.0f%%</text>`+"\n", x, top+high+18, 100*manyErrors*float64(i)/4)
	}
	colours := map[string]string{"no breaker": "#888", "5 in a row, open 30s": "#c22", "5 in a row, open 5s": "#e80", "volume rule, open 30s": "#06c", "volume rule, open 5s": "#0a6"}
	line := 0
	for _, s := range Settings() {
		colour := colours[s.Name]
		if colour == "" {
			continue
		}
		var points []string
		for i := range plotSteps + 1 {
			p := manyErrors * float64(i) / plotSteps
			points = append(points, fmt.Sprintf("%d,%.1f", left+wide*i/plotSteps, top+high*(1-Try(s, p, chance()).Available)))
		}
		fmt.Fprintf(&out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		fmt.Fprintf(&out, `<path d="M%d %dh20" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`+"\n", left+wide+20, top+20*line+10, colour, left+wide+46, top+20*line+14, s.Name)
		line++
	}
	out.WriteString("</svg>\n")
	return out.String()
}
