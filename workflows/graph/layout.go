package graph

import (
	"cmp"
	"math"
	"slices"

	"github.com/weftrun/weft"
)

// Bounds of a picture: what is larger takes long to lay out, and nobody can
// read it.
const (
	partsMax = 2_000  // tasks and ways
	cellsMax = 20_000 // places in the rows of one list
)

// Distances, in pixels.
const (
	gapX, gapY = 28.0, 30.0
	nearChip   = 18.0 // between a label and what it belongs to
	pad        = 16.0
	lane       = 16.0 // between ways that lead back
	sweeps     = 8    // over the rows, to order and then to place them
)

type point struct{ x, y float64 }

// box is a rectangle; x and y are its left upper corner.
type box struct{ x, y, w, h float64 }

func (b box) middle() float64 { return b.x + b.w/2 }

// layout gives every node and edge of f its place: tasks in rows, each below
// those that lead to it.
func layout(f *flow) error {
	for _, n := range f.nodes {
		if err := measure(n); err != nil {
			return err
		}
	}
	g := grid{f: f}
	if err := g.fill(); err != nil {
		return err
	}
	g.order()
	g.across()
	g.down()
	g.draw()
	return nil
}

// measure gives n its size, and what is in it its place.
func measure(n *node) error {
	switch {
	case n.kind == "switch":
		n.box.w, n.box.h = diamondSize(n)
		return nil
	case len(n.panels) == 0:
		n.box.w, n.box.h = cardSize(n)
		return nil
	}
	head := headSize(n)
	x, y := pad, head.h
	right, bottom := head.w, head.h
	for i, p := range n.panels {
		if p.flow != nil {
			if err := layout(p.flow); err != nil {
				return err
			}
		}
		size := panelSize(p)
		switch {
		case i > 0 && p.flow == nil: // below the tasks that it catches from
			before := n.panels[i-1].box
			x, y = before.x, before.y+before.h+gapY
		case i > 0:
			x += n.panels[i-1].box.w + 2*gapX
		}
		p.box = box{x, y, size.w, size.h}
		right, bottom = max(right, x+size.w), max(bottom, y+size.h)
	}
	// What stands above each other has one width.
	if last := n.panels[len(n.panels)-1]; last.flow == nil {
		first := n.panels[0]
		w := max(first.box.w, last.box.w)
		first.box.w, last.box.w = w, w
	}
	n.box.w, n.box.h = right+pad, bottom+pad
	if w := head.w + 2*pad; n.box.w < w {
		n.box.w = w
	}
	if len(n.panels) == 1 {
		n.panels[0].box.w = n.box.w - 2*pad
	}
	return nil
}

// cell is what stands at one place of a row: a node, or a piece of an edge
// that passes through.
type cell struct {
	node       int // -1 for a piece of an edge
	edge       *edge
	chip       bool // the piece carries the label
	w, h       float64
	x          float64 // of its middle
	row        int
	up, down   []*cell
	before     int // place in its row
	barycenter float64
}

// grid lays out the nodes of one flow in rows.
type grid struct {
	f     *flow
	rows  [][]*cell
	heads []*cell           // the cell of each node
	paths map[*edge][]*cell // of an edge that leads downwards, from node to node
	tops  []float64         // of each row
	tall  []float64         // height of each row
}

// back reports whether an edge leads up again, or to where it came from.
func back(e *edge) bool { return e.to <= e.from }

// fill puts every node into a row, and pieces of edges into the rows between.
func (g *grid) fill() error {
	row := make([]int, len(g.f.nodes))
	for i := range g.f.nodes { // edges that do not lead back lead to later nodes
		for _, e := range g.f.edges {
			if e.to == i && !back(e) {
				row[i] = max(row[i], row[e.from]+e.rows())
			}
		}
	}
	g.rows = make([][]*cell, slices.Max(row)+1)
	g.paths = map[*edge][]*cell{}
	cells := 0
	add := func(c *cell) *cell {
		c.before = len(g.rows[c.row])
		g.rows[c.row] = append(g.rows[c.row], c)
		cells++
		return c
	}
	for i, n := range g.f.nodes {
		g.heads = append(g.heads, add(&cell{node: i, w: n.box.w, h: n.box.h, row: row[i]}))
	}
	for _, e := range g.f.edges {
		if back(e) {
			continue
		}
		at := g.heads[e.from]
		path := []*cell{at}
		for r := row[e.from] + 1; r < row[e.to]; r++ {
			c := &cell{node: -1, edge: e, row: r, chip: e.label != "" && r == row[e.from]+1, w: 8}
			if c.chip {
				c.w, c.h = chipSize(e.label)
			}
			path = append(path, add(c))
			if cells > cellsMax {
				return tooLarge()
			}
		}
		path = append(path, g.heads[e.to])
		for i := 1; i < len(path); i++ {
			path[i-1].down, path[i].up = append(path[i-1].down, path[i]), append(path[i].up, path[i-1])
		}
		g.paths[e] = path
	}
	return nil
}

func tooLarge() error {
	return weft.Errorf(weft.ResourceExhausted, "graph.SVG", "the workflow has too many tasks and ways for a picture").
		WithHint("ask for mermaid, or split the workflow")
}

// rows is how many rows an edge spans at least: a label needs one.
func (e *edge) rows() int {
	if e.label != "" {
		return 2
	}
	return 1
}

// order moves the cells of each row so that few edges cross.
func (g *grid) order() {
	best, fewest := g.orders(), g.crossings()
	for range sweeps {
		for r := 1; r < len(g.rows); r++ {
			g.sort(r, func(c *cell) []*cell { return c.up })
		}
		for r := len(g.rows) - 2; r >= 0; r-- {
			g.sort(r, func(c *cell) []*cell { return c.down })
		}
		if n := g.crossings(); n < fewest {
			best, fewest = g.orders(), n
		}
	}
	for r, cells := range best {
		g.rows[r] = cells
		for i, c := range cells {
			c.before = i
		}
	}
}

func (g *grid) orders() [][]*cell {
	all := make([][]*cell, len(g.rows))
	for r := range g.rows {
		all[r] = slices.Clone(g.rows[r])
	}
	return all
}

// sort orders a row by the mean place of each cell's neighbours.
func (g *grid) sort(r int, near func(*cell) []*cell) {
	for _, c := range g.rows[r] {
		c.barycenter = float64(c.before)
		if others := near(c); len(others) > 0 {
			sum := 0.0
			for _, o := range others {
				sum += float64(o.before)
			}
			c.barycenter = sum / float64(len(others))
		}
	}
	slices.SortStableFunc(g.rows[r], func(a, b *cell) int { return cmp.Compare(a.barycenter, b.barycenter) })
	for i, c := range g.rows[r] {
		c.before = i
	}
}

// crossings counts the pairs of edges that cross between rows.
func (g *grid) crossings() int {
	n := 0
	for _, cells := range g.rows {
		var ends []int
		for _, c := range cells {
			var mine []int
			for _, o := range c.down {
				mine = append(mine, o.before)
			}
			for _, at := range mine {
				for _, e := range ends {
					if e > at {
						n++
					}
				}
			}
			ends = append(ends, mine...)
		}
	}
	return n
}

// across places the cells of each row, near to what they are tied to.
func (g *grid) across() {
	for _, cells := range g.rows {
		x := 0.0
		for _, c := range cells {
			c.x = x + c.w/2
			x += c.w + gapX
		}
	}
	up := func(c *cell) []*cell { return c.up }
	down := func(c *cell) []*cell { return c.down }
	both := func(c *cell) []*cell { return append(slices.Clone(c.up), c.down...) }
	for range sweeps {
		for r := 1; r < len(g.rows); r++ {
			g.settle(r, up)
		}
		for r := len(g.rows) - 2; r >= 0; r-- {
			g.settle(r, down)
		}
	}
	for range sweeps {
		for r := range g.rows {
			g.settle(r, both)
		}
	}
	left := math.Inf(1)
	for _, c := range slices.Concat(g.rows...) {
		left = min(left, c.x-c.w/2)
	}
	for _, c := range slices.Concat(g.rows...) {
		c.x -= left
		g.f.w = max(g.f.w, c.x+c.w/2)
	}
}

// settle moves the cells of a row as near to the mean of their neighbours as
// their order and the gaps allow.
func (g *grid) settle(r int, near func(*cell) []*cell) {
	cells := g.rows[r]
	want, weight, offset := make([]float64, len(cells)), make([]float64, len(cells)), make([]float64, len(cells))
	for i, c := range cells {
		if i > 0 {
			offset[i] = offset[i-1] + cells[i-1].w/2 + gapX + c.w/2
		}
		sum, total := c.x*0.01, 0.01
		for _, o := range near(c) {
			w := 1.0
			if c.node < 0 && o.node < 0 {
				w = 20 // a long edge is to be straight
			}
			sum, total = sum+w*o.x, total+w
		}
		want[i], weight[i] = sum/total-offset[i], total
	}
	for i, x := range rising(want, weight) {
		cells[i].x = x + offset[i]
	}
}

// rising is the list that never falls and is nearest to want by the weighted
// squares: neighbours that would fall become one group at their mean.
func rising(want, weight []float64) []float64 {
	type group struct {
		mean, weight float64
		count        int
	}
	var groups []group
	for i := range want {
		groups = append(groups, group{want[i], weight[i], 1})
		for n := len(groups); n > 1 && groups[n-2].mean > groups[n-1].mean; n = len(groups) {
			a, b := groups[n-2], groups[n-1]
			sum := a.weight + b.weight
			groups = append(groups[:n-2], group{(a.mean*a.weight + b.mean*b.weight) / sum, sum, a.count + b.count})
		}
	}
	var out []float64
	for _, g := range groups {
		for range g.count {
			out = append(out, g.mean)
		}
	}
	return out
}

// down places the rows, with room between them for the edges.
func (g *grid) down() {
	y := 0.0
	for _, e := range g.f.edges {
		if back(e) && g.heads[e.to].row == 0 {
			y = gapY
		}
	}
	for r, cells := range g.rows {
		tall, reach := 0.0, 0.0
		chips := false
		for _, c := range cells {
			tall, chips = max(tall, c.h), chips || c.chip
			for _, o := range c.down {
				reach, chips = max(reach, math.Abs(o.x-c.x)), chips || o.chip
			}
		}
		g.tops, g.tall = append(g.tops, y), append(g.tall, tall)
		for _, c := range cells {
			if c.node >= 0 {
				g.f.nodes[c.node].box.x, g.f.nodes[c.node].box.y = c.x-c.w/2, y
			}
		}
		gap := gapY
		if chips {
			gap = nearChip
		}
		y += tall
		if r < len(g.rows)-1 {
			y += gap + min(reach/12, gapY)
		}
	}
	g.f.h = y
}

// draw gives every edge its line, and every label its place.
func (g *grid) draw() {
	lanes := g.f.w
	for _, e := range g.f.edges {
		if back(e) {
			lanes = g.up(e, lanes)
			continue
		}
		path := g.paths[e]
		for i, c := range path {
			top, bottom := g.tops[c.row], g.tops[c.row]+g.tall[c.row]
			switch {
			case i == 0:
				b := g.f.nodes[e.from].box
				e.line = append(e.line, point{c.x, b.y + b.h}, point{c.x, bottom})
			case i == len(path)-1:
				e.line = append(e.line, point{c.x, top})
			default:
				e.line = append(e.line, point{c.x, top}, point{c.x, bottom})
				if c.chip {
					e.chip = box{c.x - c.w/2, top + (bottom-top-c.h)/2, c.w, c.h}
				}
			}
		}
	}
	g.f.w = max(g.f.w, lanes)
}

// up leads an edge back in a lane right of all nodes, and answers where the
// next lane may begin.
func (g *grid) up(e *edge, lanes float64) float64 {
	from, to := g.heads[e.from], g.heads[e.to]
	b := g.f.nodes[e.from].box
	bottom := g.tops[from.row] + g.tall[from.row] + nearChip/2
	top := g.tops[to.row] - nearChip
	w := 0.0
	if e.label != "" {
		w, _ = chipSize(e.label)
	}
	x := lanes + lane + w/2
	if e.label != "" {
		cw, ch := chipSize(e.label)
		e.chip = box{x - cw/2, (top+bottom)/2 - ch/2, cw, ch}
	}
	e.line = []point{{from.x, b.y + b.h}, {from.x, bottom}, {x, bottom}, {x, top}, {to.x, top}, {to.x, g.tops[to.row]}}
	g.f.h = max(g.f.h, bottom+nearChip/2)
	return x + w/2
}
