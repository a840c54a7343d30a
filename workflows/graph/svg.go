package graph

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/weftrun/weft/workflows"
)

// Sizes of letters and what is around them, in pixels.
const (
	nameSize, lineSize, kindSize = 13.0, 11.0, 10.0
	lineHigh                     = 16.0
	cardPad                      = 14.0
	pillHigh                     = 26.0
	chipHigh                     = 18.0
	headHigh                     = 36.0 // of a task with tasks inside, over its lines
	margin                       = 28.0
	titleHigh                    = 58.0
)

// SVG is a picture of d that stands by itself: it names no other file, has no
// script, and is light or dark as its reader's screen is. What is too large
// for a picture is an error.
func SVG(d *workflows.Definition) (string, error) {
	f := whole(d)
	if parts(f) > partsMax {
		return "", tooLarge()
	}
	if err := layout(f); err != nil {
		return "", err
	}
	s := &svg{}
	s.document(d, f)
	return s.b.String(), nil
}

func parts(f *flow) int {
	n := len(f.nodes) + len(f.edges)
	for _, node := range f.nodes {
		for _, p := range node.panels {
			if p.flow != nil {
				n += parts(p.flow)
			}
		}
	}
	return n
}

// wide is about how wide s is in a font without serifs.
func wide(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case strings.ContainsRune("ijlI.,:;'|! ()[]{}", r):
			w += 0.36
		case strings.ContainsRune("mwMW@%…", r) || r >= 'A' && r <= 'Z':
			w += 0.78
		case r > 0x2000:
			w += 1.05
		default:
			w += 0.6
		}
	}
	return w * size
}

// even is how wide s is in a font whose letters are all as wide as each other.
func even(s string, size float64) float64 {
	w := 0
	for _, r := range s {
		if w++; r > 0x2e00 {
			w++
		}
	}
	return float64(w) * size * 0.615
}

func longest(lines []string, size float64) float64 {
	w := 0.0
	for _, l := range lines {
		w = max(w, even(l, size))
	}
	return w
}

// title is the name and the kind beside each other.
func titleWide(n *node) float64 {
	return wide(clipped(n.name, nameMax), nameSize) + 14 + wide(n.kind, kindSize) + 6
}

func cardSize(n *node) (w, h float64) {
	if n.pointer == "" {
		if len(n.lines) == 0 {
			return wide(n.name, lineSize) + 30, pillHigh
		}
		return longest(n.lines, lineSize) + 36, pillHigh + float64(len(n.lines)-1)*lineHigh
	}
	w = max(titleWide(n), longest(n.lines, lineSize), 96) + 2*cardPad
	return math.Ceil(w), 34 + float64(len(n.lines))*lineHigh + 2
}

func diamondSize(n *node) (w, h float64) {
	lines := 1 + len(n.lines)
	h = 44 + float64(lines-1)*lineHigh
	return max(wide(clipped(n.name, nameMax), nameSize), longest(n.lines, lineSize))*1.3 + 70, h
}

// headSize is what a task with tasks inside has above them.
func headSize(n *node) box {
	return box{w: max(titleWide(n), longest(n.lines, lineSize)), h: headHigh + float64(len(n.lines))*lineHigh + 4}
}

func panelSize(p *panel) box {
	b := box{}
	if p.flow != nil {
		b.w, b.h = p.flow.w+2*pad, p.flow.h+2*pad
	}
	if p.isCatch() {
		b.w = max(b.w, max(wide(p.title, nameSize), longest(p.lines, lineSize))+2*cardPad)
		b.h += catchHead(p)
	}
	return b
}

func catchHead(p *panel) float64 { return 34 + float64(len(p.lines))*lineHigh }

func chipSize(label string) (w, h float64) { return even(label, kindSize) + 14, chipHigh }

// style is light; the variables of a dark screen replace its own. All is below
// one class, so that the picture may stand inside a page.
const style = `.weft-graph{--paper:#fbfbfd;--card:#fff;--line:#cbd2dc;--ink:#1b2330;--soft:#5b6675;--way:#7b8796;--tint:#f2f4f8;--bad:#c2410c;--badtint:#fff6f0;` +
	`--call:#2563eb;--http:#0891b2;--emit:#9333ea;--listen:#9333ea;--wait:#b7791f;--run:#0f766e;--raise:#c2410c;--set:#5b6675;--box:#475569}` +
	`@media (prefers-color-scheme:dark){.weft-graph{--paper:#12161d;--card:#1b212b;--line:#39434f;--ink:#e8edf4;--soft:#9aa7b6;--way:#77869a;--tint:#171c25;--bad:#fb923c;--badtint:#241a14;` +
	`--call:#7aa7ff;--http:#4cc3da;--emit:#c792ff;--listen:#c792ff;--wait:#e6b455;--run:#4fc7b5;--raise:#fb923c;--set:#9aa7b6;--box:#a3b1c2}}` +
	`.weft-graph text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:var(--ink)}` +
	`.weft-graph .paper{fill:var(--paper)}` +
	`.weft-graph .title{font-size:17px;font-weight:650}` +
	`.weft-graph .name{font-weight:600}` +
	`.weft-graph .line,.weft-graph .chip text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--soft)}` +
	`.weft-graph .chip text{font-size:10px}` +
	`.weft-graph .kind{font-size:10px;font-weight:600;fill:var(--c)}` +
	`.weft-graph .card{fill:var(--card);stroke:var(--line)}` +
	`.weft-graph .bar{fill:var(--c)}` +
	`.weft-graph .box{fill:var(--tint);stroke:var(--line)}` +
	`.weft-graph .body{fill:var(--paper);stroke:var(--line)}` +
	`.weft-graph .catch{fill:var(--badtint);stroke:var(--bad);stroke-dasharray:5 4;stroke-opacity:.7}` +
	`.weft-graph .catching{fill:var(--bad);font-weight:600}` +
	`.weft-graph .pill{fill:var(--ink)}` +
	`.weft-graph .pill+text,.weft-graph .pill~text{fill:var(--paper);font-size:11px;font-weight:600}` +
	`.weft-graph .way{fill:none;stroke:var(--way);stroke-width:1.4}` +
	`.weft-graph .tip{fill:var(--way)}` +
	`.weft-graph .dashed{stroke:var(--bad);stroke-dasharray:5 4}` +
	`.weft-graph .dashedtip{fill:var(--bad)}` +
	`.weft-graph .chip rect{fill:var(--paper);stroke:var(--line)}`

type svg struct{ b strings.Builder }

func (s *svg) add(format string, args ...any) { fmt.Fprintf(&s.b, format+"\n", args...) }

// num is a number with at most one digit behind the point.
func num(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// escaped is s for a text or an attribute; what XML does not know is replaced.
func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

func (s *svg) document(d *workflows.Definition, f *flow) {
	space, name, version := d.ID()
	title := clipped(d.Title(), 80)
	about := space + "/" + name + " " + version
	if t := d.Timeout(); t != nil {
		about += " · timeout " + clipped(t.String(), lineMax)
	}
	w := max(f.w, wide(title, 17), even(about, lineSize)) + 2*margin
	h := f.h + titleHigh + 2*margin
	s.add(`<svg xmlns="http://www.w3.org/2000/svg" class="weft-graph" role="img" aria-label="%s" width="%s" height="%s" viewBox="0 0 %s %s">`,
		escaped("Workflow: "+title), num(w), num(h), num(w), num(h))
	s.add("<title>%s</title>", escaped(title))
	s.add("<desc>%s</desc>", escaped(about+", "+count(len(d.Tasks()), "task")))
	s.add("<style>%s</style>", style)
	s.add(`<rect class="paper" width="%s" height="%s" rx="12"/>`, num(w), num(h))
	s.text(margin, margin+12, "title", title)
	s.text(margin, margin+32, "line", about)
	s.open((w-f.w)/2, margin+titleHigh)
	s.flow(f)
	s.add("</g></svg>")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func (s *svg) open(x, y float64) { s.add(`<g transform="translate(%s %s)">`, num(x), num(y)) }

func (s *svg) text(x, y float64, class, text string) {
	s.add(`<text x="%s" y="%s" class="%s">%s</text>`, num(x), num(y), class, escaped(text))
}

func (s *svg) centred(x, y float64, class, text string) {
	s.add(`<text x="%s" y="%s" class="%s" text-anchor="middle">%s</text>`, num(x), num(y), class, escaped(text))
}

func (s *svg) rect(b box, class string, round float64) {
	s.add(`<rect x="%s" y="%s" width="%s" height="%s" rx="%s" class="%s"/>`, num(b.x), num(b.y), num(b.w), num(b.h), num(round), class)
}

// flow draws edges first, so that nothing is crossed by one.
func (s *svg) flow(f *flow) {
	for _, e := range f.edges {
		s.edge(e)
	}
	for _, n := range f.nodes {
		s.node(n)
	}
	for _, e := range f.edges {
		if e.label == "" {
			continue
		}
		s.add(`<g class="chip">`)
		s.rect(e.chip, "", chipHigh/2)
		s.centred(e.chip.middle(), e.chip.y+12.5, "", e.label)
		s.add("</g>")
	}
}

func (s *svg) edge(e *edge) {
	class, tip := "way", "tip"
	if e.dashed {
		class, tip = "way dashed", "dashedtip"
	}
	d := curved(e.line)
	if back(e) {
		d = rounded(e.line)
	}
	s.add(`<path class="%s" d="%s"/>`, class, d)
	end := e.line[len(e.line)-1]
	s.add(`<path class="%s" d="M%s %sl-4.5 -8h9z"/>`, tip, num(end.x), num(end.y))
}

// curved goes straight through rows and swings between them. It ends inside
// its arrowhead.
func curved(line []point) string {
	d := "M" + num(line[0].x) + " " + num(line[0].y)
	for i := 1; i < len(line); i++ {
		a, b := line[i-1], line[i]
		if i == len(line)-1 {
			b.y -= 4
		}
		if a.x == b.x {
			d += "L" + num(b.x) + " " + num(b.y)
			continue
		}
		middle := (a.y + b.y) / 2
		d += fmt.Sprintf("C%s %s %s %s %s %s", num(a.x), num(middle), num(b.x), num(middle), num(b.x), num(b.y))
	}
	return d
}

// rounded goes along right angles whose corners are round.
func rounded(line []point) string {
	d := "M" + num(line[0].x) + " " + num(line[0].y)
	for i := 1; i < len(line)-1; i++ {
		a, c, b := line[i-1], line[i], line[i+1]
		r := min(8, dist(a, c)/2, dist(c, b)/2)
		in, out := toward(c, a, r), toward(c, b, r)
		d += fmt.Sprintf("L%s %sQ%s %s %s %s", num(in.x), num(in.y), num(c.x), num(c.y), num(out.x), num(out.y))
	}
	end := line[len(line)-1]
	return d + "L" + num(end.x) + " " + num(end.y-4)
}

func dist(a, b point) float64 { return math.Hypot(a.x-b.x, a.y-b.y) }

func toward(from, to point, by float64) point {
	n := dist(from, to)
	if n == 0 {
		return from
	}
	return point{from.x + (to.x-from.x)*by/n, from.y + (to.y-from.y)*by/n}
}

var colours = map[string]string{
	"call": "call", "http": "http", "emit": "emit", "listen": "listen", "wait": "wait", "run": "run", "raise": "raise", "set": "set",
}

func (s *svg) node(n *node) {
	colour := colours[n.kind]
	if colour == "" {
		colour = "box"
	}
	s.add(`<g class="node" style="--c:var(--%s)" data-task="%s" transform="translate(%s %s)">`, colour, escaped(n.pointer), num(n.box.x), num(n.box.y))
	switch {
	case n.pointer == "":
		s.pill(n)
	case n.kind == "switch":
		s.diamond(n)
	case len(n.panels) > 0:
		s.container(n)
	default:
		s.card(n)
	}
	s.add("</g>")
}

func (s *svg) pill(n *node) {
	s.rect(box{w: n.box.w, h: n.box.h}, "pill", pillHigh/2)
	lines := n.lines
	if len(lines) == 0 {
		lines = []string{n.name}
	}
	for i, l := range lines {
		s.centred(n.box.w/2, 17+float64(i)*lineHigh, "", l)
	}
}

func (s *svg) diamond(n *node) {
	w, h := n.box.w, n.box.h
	s.add(`<path class="card" d="M%s 0L%s %sL%s %sL0 %sZ"/>`, num(w/2), num(w), num(h/2), num(w/2), num(h), num(h/2))
	y := h/2 + 4.5 - float64(len(n.lines))*lineHigh/2
	s.centred(w/2, y, "name", clipped(n.name, nameMax))
	for i, l := range n.lines {
		s.centred(w/2, y+float64(i+1)*lineHigh, "line", l)
	}
}

func (s *svg) card(n *node) {
	s.rect(box{w: n.box.w, h: n.box.h}, "card", 8)
	s.rect(box{x: 5, y: 9, w: 3, h: n.box.h - 18}, "bar", 1.5)
	s.head(n, 22, cardPad)
}

// head writes name, kind and lines.
func (s *svg) head(n *node, y, x float64) {
	s.text(x, y, "name", clipped(n.name, nameMax))
	s.add(`<text x="%s" y="%s" class="kind" text-anchor="end">%s</text>`, num(n.box.w-x), num(y-0.5), escaped(n.kind))
	for i, l := range n.lines {
		s.text(x, y+float64(i+1)*lineHigh+1, "line", l)
	}
}

func (s *svg) container(n *node) {
	s.rect(box{w: n.box.w, h: n.box.h}, "box", 10)
	s.head(n, 24, pad)
	for _, p := range n.panels {
		s.panel(p)
	}
	if last := n.panels[len(n.panels)-1]; last.isCatch() {
		s.thrown(n.panels[0].box, last.box)
	}
}

func (s *svg) panel(p *panel) {
	s.open(p.box.x, p.box.y)
	at := pad
	if p.isCatch() {
		s.rect(box{w: p.box.w, h: p.box.h}, "catch", 8)
		s.text(cardPad, 22, "catching", p.title)
		for i, l := range p.lines {
			s.text(cardPad, 22+float64(i+1)*lineHigh+1, "line", l)
		}
		at += catchHead(p)
	} else {
		s.rect(box{w: p.box.w, h: p.box.h}, "body", 8)
	}
	if p.flow != nil {
		s.open((p.box.w-p.flow.w)/2, at)
		s.flow(p.flow)
		s.add("</g>")
	}
	s.add("</g>")
}

// thrown leads from the tasks of a try to its catch, right of them or below.
func (s *svg) thrown(body, catch box) {
	if catch.y > body.y {
		x := body.middle()
		s.add(`<path class="way dashed" d="M%s %sV%s"/><path class="dashedtip" d="M%s %sl-4.5 -8h9z"/>`, num(x), num(body.y+body.h), num(catch.y-4), num(x), num(catch.y))
		return
	}
	y := catch.y + 18
	s.add(`<path class="way dashed" d="M%s %sH%s"/><path class="dashedtip" d="M%s %sl-8 -4.5v9z"/>`, num(body.x+body.w), num(y), num(catch.x-4), num(catch.x), num(y))
}
