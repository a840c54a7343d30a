package workflows

import (
	"strconv"
	"strings"
	"time"

	"github.com/sosodev/duration"

	"github.com/weftrun/weft"
)

// DurationMax is the longest duration that a workflow may name.
const DurationMax = 10 * 366 * 24 * time.Hour

// Duration is a fixed length of time, or an expression that gives one as ISO 8601.
type Duration struct {
	fixed time.Duration
	expr  *Expr
}

// Eval gives the length, at least 0 and at most DurationMax.
func (d *Duration) Eval(dot any, s Scope) (time.Duration, error) {
	if d.expr == nil {
		return d.fixed, nil
	}
	v, err := d.expr.Eval(dot, s)
	if err != nil {
		return 0, err
	}
	text, ok := v.(string)
	if !ok {
		return 0, weft.Errorf(weft.InvalidArgument, "workflows.Duration.Eval", "%s gives no ISO 8601 duration but %s", d.expr, AppendJSON(nil, v))
	}
	return ParseDuration(text)
}

// String is the length as people read it, such as 1h30m or 2d, or the
// expression that gives it.
func (d *Duration) String() string {
	if d.expr != nil {
		return d.expr.String()
	}
	return ShowDuration(d.fixed)
}

// ShowDuration is d as people read it, such as 1h30m or 2d.
func ShowDuration(d time.Duration) string {
	s := ""
	for _, unit := range []struct {
		long time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if n := d / unit.long; n > 0 {
			s += strconv.FormatInt(int64(n), 10) + unit.name
			d -= n * unit.long
		}
	}
	if d > 0 || s == "" {
		s += strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
	}
	return s
}

// ParseDuration reads an ISO 8601 duration such as PT1H30M.
func ParseDuration(text string) (time.Duration, error) {
	const op = "workflows.ParseDuration"
	d, err := duration.Parse(text)
	if err != nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return 0, weft.Errorf(weft.InvalidArgument, op, "%q is no ISO 8601 duration; write one such as PT30S, PT15M or P1D", text)
	}
	if d.Negative {
		return 0, weft.Errorf(weft.InvalidArgument, op, "the duration %s is below zero", text)
	}
	days := d.Years*366 + d.Months*31 + d.Weeks*7 + d.Days
	seconds := d.Hours*3600 + d.Minutes*60 + d.Seconds
	if days+seconds/86400 > DurationMax.Hours()/24 {
		return 0, weft.Errorf(weft.InvalidArgument, op, "the duration %s is longer than ten years", text)
	}
	if d.Years != 0 || d.Months != 0 {
		return 0, weft.Errorf(weft.InvalidArgument, op, "years and months differ in length; write the duration %s in days", text)
	}
	return d.ToTimeDuration(), nil
}
