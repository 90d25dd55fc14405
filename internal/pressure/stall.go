package pressure

import (
	"strconv"
	"strings"
)

// parseStall reads a file of /proc/pressure:
//
//	some avg10=1.53 avg60=0.87 avg300=0.22 total=2983472
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// It returns nil for anything else. Kernels before 5.13 have no "full" for CPUs.
func parseStall(text string) *Stall {
	var s Stall
	var found bool
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		average, ok := strings.CutPrefix(fields[1], "avg10=")
		if !ok {
			return nil
		}
		percent, err := strconv.ParseFloat(average, 64)
		if err != nil || !(percent >= 0 && percent <= 100) { // also refuses what is not a number
			return nil
		}
		switch fields[0] {
		case "some":
			s.Some, found = percent/100, true
		case "full":
			s.Full = percent / 100
		}
	}
	if !found {
		return nil
	}
	return &s
}
