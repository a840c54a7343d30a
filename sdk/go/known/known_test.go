package known

import (
	"math"
	"testing"
	"time"
)

func TestTimesAndSpans(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(1906, 12, 9, 0, 0, 0, 999, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)} {
		if got := NewTimestamp(at).Time(); !got.Equal(at) {
			t.Errorf("%v is %v", at, got)
		}
	}
	for _, d := range []time.Duration{0, 1, -1, 1500 * time.Millisecond, -1500 * time.Millisecond, math.MaxInt64 - time.Second, math.MinInt64 + time.Second} {
		if got := NewDuration(d).Span(); got != d {
			t.Errorf("%v is %v", d, got)
		}
	}
	if got := (&Duration{Seconds: 300e9}).Span(); got != math.MaxInt64 {
		t.Errorf("ten thousand years are %v", got)
	}
	if got := (&Duration{Seconds: -300e9}).Span(); got != math.MinInt64 {
		t.Errorf("ten thousand years ago are %v", got)
	}
	if (*Timestamp)(nil).Time().Unix() != 0 || (*Duration)(nil).Span() != 0 {
		t.Error("what is absent is not nothing")
	}
}

func TestAnyHoldsAMessage(t *testing.T) {
	a := NewAny(&StringValue{Value: "hello"})
	var text StringValue
	if is, err := a.To(&text); !is || err != nil || text.Value != "hello" || a.TypeUrl != "type.googleapis.com/google.protobuf.StringValue" {
		t.Errorf("%v, %v, %v", is, err, text)
	}
	if is, err := a.To(&Duration{}); is || err != nil {
		t.Errorf("a string is a duration: %v, %v", is, err)
	}
	if is, err := (*Any)(nil).To(&text); is || err != nil {
		t.Errorf("nothing is a string: %v, %v", is, err)
	}
	if is, err := (&Any{TypeUrl: "google.protobuf.StringValue", Value: []byte{0xff}}).To(&text); !is || err == nil {
		t.Errorf("a malformed one: %v, %v", is, err)
	}
}
