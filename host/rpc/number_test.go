package rpc

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestANumberThatADoubleWouldChangeIsFound(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":[0,-1,0.1,1e300,0.30000000000000004,9007199254740992]}`: "",
		`9007199254740993`:                      "9007199254740993",
		`{"a":{"b":[1,-9007199254740993]}}`:     "-9007199254740993",
		`"9007199254740993"`:                    "",
		`{"9007199254740993\"":"\\","b":1}`:     "",
		`["\\",3.14159265358979323846]`:         "3.14159265358979323846",
		`10000000000000000000000`:               "", // written as 1e22
		`1e400`:                                 "1e400",
		`1e-400`:                                "1e-400",
		`1e99999999999999999999`:                "1e99999999999999999999",
		`[1.000000000000000000000,0e999,-0.0]`:  "",
		`18446744073709551615 `:                 "18446744073709551615",
		`{"price":19.99,"n":123456789012345.6}`: "",
		``:                                      "",
		`"cut off`:                              "",
		`"cut off\`:                             "",
	} {
		if got := misfit([]byte(text)); got != want {
			t.Errorf("%s: %q and not %q", text, got, want)
		}
	}
}

// What fits agrees with exact arithmetic.
func TestWhatFitsIsExactlyTheSameNumber(t *testing.T) {
	rat := func(s string) *big.Rat {
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatal(s)
		}
		return r
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := strconv.FormatInt(r.Int64()>>r.IntN(40), 10)
		switch r.IntN(4) {
		case 0:
			n += "." + strconv.Itoa(r.IntN(1e9))
		case 1:
			n += fmt.Sprintf("%ce%d", "0."[r.IntN(2)], r.IntN(60)-30)
			if n = fixed(n); n == "" {
				continue
			}
		case 2:
			n = strconv.FormatFloat(math.Float64frombits(r.Uint64()>>2|1<<61), 'g', 1+r.IntN(20), 64)
		}
		f, err := strconv.ParseFloat(n, 64)
		if err != nil {
			continue
		}
		if want := rat(n).Cmp(rat(strconv.FormatFloat(f, 'e', -1, 64))) == 0; fits(n) != want {
			t.Errorf("%s fits: %v", n, !want)
		}
	}
}

// fixed is a number whose fraction has digits, empty for what is none.
func fixed(n string) string {
	for i := range len(n) - 1 {
		if n[i] == '.' && n[i+1] == 'e' {
			return n[:i+1] + "0" + n[i+1:]
		}
	}
	return n
}
