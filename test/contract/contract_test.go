package contract_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const page = "../../docs/contract.md"

// rowStart is how a row of the page's tables begins.
var rowStart = regexp.MustCompile(`^\| (C-[A-Z]+-\d\d) \|`)

// row is a promise: its cells, the id not among them.
type row struct {
	id    string
	cells []string
}

func contract(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []row
	for line := range strings.Lines(string(text)) {
		found := rowStart.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")[1:] {
			cells = append(cells, strings.TrimSpace(cell))
		}
		all = append(all, row{found[1], cells})
	}
	return all
}

// shows are the tests of the rows, but for those of the environment, which are data.
var shows = map[string]func(*testing.T){
	"C-API-01": healthShowsStorage,
	"C-API-02": healthShowsContainers,
	"C-API-03": healthCountsTokens,
	"C-API-04": healthShowsThePool,
	"C-API-05": healthShowsResources,
	"C-API-06": containersHaveAHealth,
	"C-API-07": tokensAreManaged,
	"C-API-08": sessionsHaveALife,
	"C-API-09": credentialIsOurs,

	"C-ENV-08": operationsTakeTurns,

	"C-DB-01":   tableIsTheContracts,
	"C-DB-02":   tableIsTheContracts,
	"C-DB-03":   statusesAreFour,
	"C-DB-04":   sessionsMoveIntoTheDatabase,
	"C-HIP-01":  hostIsFound,
	"C-HLT-01":  containersAreHealed,
	"C-LOG-01":  linesAreJSON,
	"C-LOG-02":  linesAreForPeople,
	"C-LOG-03":  requestsAreFollowed,
	"C-RES-01":  busyHostIsSparedSessions,
	"C-RES-02":  limitsAreOnTheContainer,
	"C-POOL-01": connectionsAreReused,

	"C-CMD-01":  certificatesAreMade,
	"C-CMD-02":  engineIsSetUp,
	"C-CMD-03":  wayToTheEngineIsTested,
	"C-CMD-04":  areaRuns("C-CMD-04"),
	"C-CMD-05":  areaRuns("C-CMD-05"),
	"C-CMD-06":  areaRuns("C-CMD-06"),
	"C-CMD-07":  auditHasFourteenItems,
	"C-FILE-01": filesAreWhereTheyWere,
	"C-FILE-02": composeHasNoSocket,
}

func TestContract(t *testing.T) {
	t.Parallel()
	rows := contract(t)
	if len(rows) < 40 {
		t.Fatalf("got %d rows: is %s what it was", len(rows), page)
	}
	var known []string
	for _, r := range rows {
		if slices.Contains(known, r.id) {
			t.Errorf("%s stands there twice", r.id)
		}
		known = append(known, r.id)
		t.Run(r.id, func(t *testing.T) {
			t.Parallel()
			show := shows[r.id]
			if settings := environment[r.id]; settings != nil {
				holds(t, r, settings)
			} else if show == nil {
				t.Fatalf("nothing shows that this holds: %s", strings.Join(r.cells, " | "))
			}
			if show != nil {
				show(t)
			}
		})
	}
	for _, id := range slices.Concat(slices.Collect(maps.Keys(shows)), slices.Collect(maps.Keys(environment))) {
		if !slices.Contains(known, id) {
			t.Errorf("%s has a test and no row", id)
		}
	}
}
