// Package known has the messages of Google that many services share: time, spans,
// JSON, wrappers of scalars, and the details of errors.
package known

import (
	"strings"
	"time"

	"github.com/weftrun/weft/sdk/go/wire"
)

// NewTimestamp is t as a message.
func NewTimestamp(t time.Time) *Timestamp {
	return &Timestamp{Seconds: t.Unix(), Nanos: int32(t.Nanosecond())}
}

// Time is the time of m in UTC; nil is the beginning of 1970.
func (m *Timestamp) Time() time.Time {
	m = wire.Get(m)
	return time.Unix(m.Seconds, int64(m.Nanos)).UTC()
}

// NewDuration is d as a message.
func NewDuration(d time.Duration) *Duration {
	return &Duration{Seconds: int64(d / time.Second), Nanos: int32(d % time.Second)}
}

// Span is the duration of m, the longest there is for one of centuries; nil is none.
func (m *Duration) Span() time.Duration {
	m = wire.Get(m)
	const most = int64(1<<63-1) / int64(time.Second)
	switch {
	case m.Seconds >= most:
		return 1<<63 - 1
	case m.Seconds <= -most:
		return -1 << 63
	}
	return time.Duration(m.Seconds)*time.Second + time.Duration(m.Nanos)
}

// NewAny is a message of any type.
func NewAny(m wire.Message) *Any {
	return &Any{TypeUrl: "type.googleapis.com/" + m.FullName(), Value: wire.Marshal(m)}
}

// To reads m into a message, and is false where m is of another type.
func (m *Any) To(to wire.Message) (bool, error) {
	m = wire.Get(m)
	if m.TypeUrl[strings.LastIndexByte(m.TypeUrl, '/')+1:] != to.FullName() {
		return false, nil
	}
	return true, wire.Unmarshal(m.Value, to)
}
