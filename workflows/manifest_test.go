package workflows

import (
	"strings"
	"testing"
)

func TestJSONOfFollowsAliasesAsFarAsTheyGo(t *testing.T) {
	got, err := JSONOf([]byte("limits: &small { memory: 1, calls: [ &two 2, *two ] }\nother: *small\n"))
	if want := `{"limits":{"calls":[2,2],"memory":1},"other":{"calls":[2,2],"memory":1}}`; err != nil || string(got) != want {
		t.Errorf("it gives %s, %v", got, err)
	}
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 20 {
		last := string(rune('a' + i))
		next := string(rune('b' + i))
		bomb += next + ": &" + next + " [" + strings.Repeat("*"+last+", ", 9) + "*" + last + "]\n"
	}
	for name, text := range map[string]string{"many of many": bomb, "itself inside itself": "a: &a [ *a ]\n", "none of that name": "a: *b\n"} {
		if _, err := JSONOf([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: %.300s", name, err)
		}
	}
}
