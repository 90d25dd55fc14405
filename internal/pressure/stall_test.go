package pressure

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStall(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*Stall{
		"some avg10=1.25 avg60=0.87 avg300=0.22 total=2983472\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=0\n": {Some: 0.0125, Full: 0.005},
		"some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n":                                                     {Some: 1},
		"full avg10=1.00 avg60=0.00 avg300=0.00 total=1\n":                                                       nil,
		"some avg10=NaN\n":         nil,
		"some avg10=-1\n":          nil,
		"some avg10=101\n":         nil,
		"some avg60=1 avg10=1\n":   nil,
		"some\n":                   nil,
		"":                         nil,
		"operation not supported":  nil,
		"other avg10=1.00\nsome\n": nil,
	} {
		if diff := cmp.Diff(want, parseStall(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzStall(f *testing.F) {
	f.Add("some avg10=1.53 avg60=0.87 avg300=0.22 total=2983472\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	f.Add("some avg10=1e2\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := parseStall(text)
		if s != nil && (s.Some < 0 || s.Some > 1 || s.Full < 0 || s.Full > 1 || s.Some != s.Some || s.Full != s.Full) {
			t.Errorf("%q gives %+v, want fractions", text, *s)
		}
	})
}
