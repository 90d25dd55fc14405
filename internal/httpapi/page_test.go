package httpapi_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/httpapi"
)

//go:generate go test -count=1 -run ^TestPermissionsPageIsCurrent$ . -update

var update = flag.Bool("update", false, "renew docs/permissions.md")

const permissionsBegin = `# Who may do what

<!-- Generated from internal/access/permission.go and the API's routes by go generate ./internal/httpapi. Do not edit. -->

A request is made by one of these principals:

- **operator**: has the admin token, or signs in with the operator's role;
- **platform token**: a program that the operator gave a token with [scopes](operating.md#platform-tokens). The column shows the scope
  that it needs; ✓: none. A token that is bound to an owner reaches what the owner reaches, and no more;
- **owner**: a person who has signed in, or the owner that a platform token is bound to;
- **session token**: has the token of one session; **previous**: its previous token, during the grace;
- **browser**: has signed in to one session; **device**: has the token of a device that has [paired](access.md#devices) with one session.

| Mark | Meaning |
|---|---|
| all | on every session |
| owned | on the owner's sessions: lists have no others, creates are for the owner, and others' sessions do not exist (404) |
| own | on the token's session |
| ✓ | yes; it is not about a session |
| – | no: 403 for a platform token and an owner, 401 for everyone else |

`

func TestPermissionsPageIsCurrent(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	var b strings.Builder
	b.WriteString(permissionsBegin)
	b.WriteString("| Route | anyone | operator | platform token | owner | session token | previous | browser | device |\n|---|---|---|---|---|---|---|---|---|\n")
	routes := append(w.api.Routes(), httpapi.Route{Method: "POST", Path: "/s/{id}/api/pair", Verb: access.Pair},
		httpapi.Route{Method: "GET", Path: "/s/{id}/auth/connect/{code}", Verb: access.Status}, httpapi.Route{Method: "any", Path: "/s/{id}/…", Verb: access.Open})
	for _, r := range routes {
		fmt.Fprintf(&b, "| `%s %s` |", r.Method, r.Path)
		for _, kind := range []access.Kind{access.Anonymous, access.Operator, access.Platform, access.Owner, access.SessionToken, access.PreviousToken, access.SignedIn, access.Device} {
			fmt.Fprintf(&b, " %s |", mark(r, kind))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n`POST /sessions` and `…/upgrade` with an `image` are for the operator and for platform tokens that are not bound to an owner.\n")
	if got := []access.Kind{access.Operator, access.Platform}; !slices.Equal(got, kindsThat(access.ChooseImage)) {
		t.Errorf("images are chosen by the kinds %v, the page says %v", kindsThat(access.ChooseImage), got)
	}
	page := filepath.Join("..", "..", "docs", "permissions.md")
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || string(text) != b.String() {
		t.Errorf("docs/permissions.md does not show the permissions (%v): run go generate ./internal/httpapi", err)
	}
}

// mark is the cell of a route and a kind of principal.
func mark(r httpapi.Route, kind access.Kind) string {
	reach := access.Reaches(r.Verb, kind)
	switch {
	case reach == access.None:
		return "–"
	case reach == access.Own:
		return "own"
	case reach == access.Owned:
		return "owned"
	case kind == access.Platform:
		return cmp.Or(access.ScopeFor(r.Verb).String(), "✓")
	case strings.Contains(r.Path, "{id}"), r.Verb == access.List:
		return "all"
	default:
		return "✓"
	}
}

func kindsThat(v access.Verb) (kinds []access.Kind) {
	for kind := access.Anonymous; kind <= access.Device; kind++ {
		if access.Reaches(v, kind) != access.None {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
