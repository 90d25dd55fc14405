package asset

import (
	"strconv"
	"strings"
)

// Codings, in the order of preference where a client has none.
const (
	identity = ""
	zstdName = "zstd"
	gzipName = "gzip"
)

// accepted returns the coding that a client prefers (RFC 9110, section 12.5.3). Without the field a client accepts any coding;
// it gets none, because it may not expect one.
func accepted(values []string) string {
	weights := map[string]float64{}
	for _, value := range values {
		for entry := range strings.SplitSeq(value, ",") {
			name, weight := weighed(entry)
			switch name {
			case "x-gzip":
				name = gzipName
			case zstdName, gzipName, "identity", "*":
			default:
				continue
			}
			if _, twice := weights[name]; !twice {
				weights[name] = weight
			}
		}
	}
	best, of := identity, weights["identity"] // which is acceptable unless refused, and preferred only if it is named
	for _, name := range []string{zstdName, gzipName} {
		weight, named := weights[name]
		if !named {
			weight = weights["*"]
		}
		if weight > 0 && (weight > of || best == identity && weight == of) {
			best, of = name, weight
		}
	}
	return best
}

// weighed splits an entry such as "gzip;q=0.5". The weight of one that is malformed is 0.
func weighed(entry string) (name string, weight float64) {
	name, params, found := strings.Cut(entry, ";")
	name = strings.ToLower(strings.Trim(name, " \t"))
	if !found {
		return name, 1
	}
	key, text, _ := strings.Cut(strings.Trim(params, " \t"), "=")
	weight, err := strconv.ParseFloat(text, 64)
	if !strings.EqualFold(key, "q") || err != nil || !(weight >= 0 && weight <= 1) || len(text) > len("0.000") {
		return name, 0
	}
	return name, weight
}
