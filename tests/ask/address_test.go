package ask

import "testing"

func TestNobodyIsGivenTheAddressOfAnother(t *testing.T) {
	given := map[string]bool{}
	for range 200 {
		at, err := Address()
		if err != nil {
			t.Fatal(err)
		}
		if given[at] {
			t.Errorf("%s is given twice", at)
		}
		given[at] = true
	}
}
