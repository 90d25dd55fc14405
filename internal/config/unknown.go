package config

import (
	"maps"
	"slices"
	"strings"
)

// ownPrefix is the prefix of Berth's own variables.
const ownPrefix = "BERTH_"

// otherVariables are read by Berth's commands and scripts and are not settings of "berth serve".
var otherVariables = []string{
	"BERTH_URL", "BERTH_ADMIN_TOKEN_FILE", "BERTH_GUARD_LISTEN", "BERTH_GUARD_SOCKET", // commands
	"BERTH_ENGINE", "BERTH_SESSION", "BERTH_TOKEN", // make run, and what it prints
	"DOCKER_HOST_NAME", "DAYS", // certs init
	"DOCKER_API_VERSION", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_TLS", // Docker's own
}

// unknownVariables has one sentence for each variable that looks like a setting and is none. It is a warning only, because
// clusters set such variables automatically (BERTH_PORT for a service called berth).
func unknownVariables(environ map[string]string) []string {
	known := append(Variables(), otherVariables...)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		if environ[name] == "" || slices.Contains(known, name) || strings.HasPrefix(name, "BERTH_TEST_") {
			continue
		}
		nearest, distance := nearestName(name, known)
		meant := abbreviated(name, known)
		switch {
		case distance <= typingErrors(name):
			all = append(all, name+" is not a setting: do you mean "+nearest+"?")
		case meant != "":
			all = append(all, name+" is not a setting: do you mean "+meant+"?")
		case strings.HasPrefix(name, ownPrefix):
			all = append(all, name+` is not a setting: it has no effect; "berth config docs" lists those that have one`)
		}
	}
	return all
}

// typingErrors is the number of characters by which a misspelt name may differ: none for short names, which other programs
// use too.
func typingErrors(name string) int {
	switch {
	case len(name) < 8:
		return 0
	case len(name) < 14:
		return 1
	default:
		return 2
	}
}

// abbreviated returns the setting that begins with the name, or that has the same words in a longer or another form; "" if
// there is none. Names of one word are too common.
func abbreviated(name string, known []string) string {
	words := strings.Split(name, "_")
	if len(words) < 2 {
		return ""
	}
	for _, k := range known {
		full := strings.Split(k, "_")
		begins, alike := strings.HasPrefix(k, name+"_"), len(full) == len(words)
		for i := 0; alike && i < len(words); i++ {
			alike = full[i] == words[i] || commonPrefix(full[i], words[i]) >= 3
		}
		if begins || alike {
			return k
		}
	}
	return ""
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func nearestName(name string, known []string) (nearest string, distance int) {
	distance = len(name)
	for _, k := range known {
		if d := editDistance(name, k); d < distance {
			nearest, distance = k, d
		}
	}
	return nearest, distance
}

// editDistance counts the bytes to insert, remove or replace to get b from a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
