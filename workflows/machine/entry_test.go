package machine

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

var everyEntry = []Entry{
	{Kind: Started, At: noon, Seed: 1<<63 + 5, Data: []byte(`{"a":1}`)},
	{Kind: Finished, At: noon + 1, Step: 7, Data: []byte(`[1]`)},
	{Kind: Failed, At: noon + 2, Step: 1 << 31, Fault: &Fault{Type: "t", Status: 503, Title: "Größe", Detail: "d", Instance: "/do/0/a"}},
	{Kind: Fired, At: -5},
	{Kind: Delivered, At: noon, Event: &weft.Event{
		ID: "1", Source: "/s", Type: "t", Subject: "x", Time: time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC),
		DataContentType: "text/plain", DataSchema: "s", Data: []byte("data"), Extensions: map[string]string{"b": "2", "a": "1"},
	}},
	{Kind: Delivered, Event: &weft.Event{ID: "1", Data: []byte{}}},
	{Kind: Cancelled, At: noon, Data: []byte("by hand")},
	{Kind: Paused, At: noon, Data: []byte("lunch")},
	{Kind: Resumed, At: noon, Data: []byte{}},
	{Kind: Attempted, At: noon, Step: 3},
	{Kind: Outcome, At: noon, Step: 3, Ordinal: 2, Data: []byte{0, 255}},
	{Kind: Parked, At: noon, Step: 3, Data: []byte("peer payments is open")},
	{Kind: Woken, At: noon, Step: 3},
}

func TestEntriesAreReadAsTheyWereWritten(t *testing.T) {
	var journal []byte
	for _, e := range everyEntry {
		journal = AppendEntry(journal, e)
	}
	rest := journal
	for i, want := range everyEntry {
		var got Entry
		var err error
		if got, rest, err = DecodeEntry(rest); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("entry %d is %+v, %v", i, got, err)
		}
	}
	if len(rest) > 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
}

func TestDamagedEntriesAreRefused(t *testing.T) {
	for _, e := range everyEntry {
		whole := AppendEntry(nil, e)
		for n := range whole {
			if _, _, err := DecodeEntry(whole[:n]); err == nil || weft.CodeOf(err) != weft.DataLoss {
				t.Errorf("%s cut to %d of %d bytes: %v", e.Kind, n, len(whole), err)
			}
		}
	}
	for _, damaged := range [][]byte{{0}, {200, 1}, {byte(Finished), 2, 255, 255, 255, 255, 255, 1, 0}, {byte(Started), 0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 15}} {
		if _, _, err := DecodeEntry(damaged); err == nil {
			t.Errorf("%x is read", damaged)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, e := range everyEntry {
		f.Add(AppendEntry(nil, e))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		e, rest, err := DecodeEntry(src)
		if err != nil {
			return
		}
		written := AppendEntry(nil, e)
		again, left, err := DecodeEntry(append(written, rest...))
		if err != nil || !reflect.DeepEqual(again, e) || !bytes.Equal(left, rest) {
			t.Fatalf("%x is %+v, and then %+v, %v", src, e, again, err)
		}
	})
}

func FuzzDecodeHTTP(f *testing.F) {
	f.Add(EncodeHTTP(weft.Response{Status: 200, Headers: map[string]string{"a": "b"}, Body: []byte("x")}))
	f.Fuzz(func(t *testing.T, src []byte) {
		r, err := decodeHTTP(src)
		if err != nil {
			return
		}
		if again, err := decodeHTTP(EncodeHTTP(r)); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%x is %+v and then %+v, %v", src, r, again, err)
		}
	})
}
