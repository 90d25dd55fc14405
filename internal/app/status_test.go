package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writesStatus lists the packages that may write the status of a session beside lifecycle: the table of its fields, with
// which stores decode what lifecycle has written, and the samples of tests.
var writesStatus = []string{"berth/internal/storage/record/fields.go", "berth/internal/storetest/"}

// Only lifecycle decides what status a session has.
func TestOnlyLifecycleWritesStatus(t *testing.T) {
	t.Parallel()
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "berth/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := map[string]string{}
	var own []listed
	for packages := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, "berth/") && !isTests(p.ImportPath) {
			own = append(own, p)
		}
	}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	found := 0
	for _, p := range own {
		info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}, Types: map[ast.Expr]types.TypeAndValue{}}
		var parsed []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, files, parsed, info); err != nil {
			t.Fatalf("%s: %v", p.ImportPath, err)
		}
		for _, f := range parsed {
			ast.Inspect(f, func(n ast.Node) bool {
				if !isStatusWrite(n, info) {
					return true
				}
				at := files.Position(n.Pos())
				file := p.ImportPath + "/" + filepath.Base(at.Filename)
				switch {
				case p.ImportPath == "berth/internal/lifecycle":
					found++
				case !slices.ContainsFunc(writesStatus, func(allowed string) bool { return strings.HasPrefix(file, allowed) }):
					t.Errorf("%s:%d writes the status of a session: only lifecycle may; see lifecycle.Intake", file, at.Line)
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Error("this test finds no write of a status in lifecycle, so it would find none elsewhere")
	}
}

// isStatusWrite reports whether a node gives the status of a session a value, or takes its address.
func isStatusWrite(n ast.Node, info *types.Info) bool {
	isStatus := func(e ast.Expr) bool {
		field, ok := e.(*ast.SelectorExpr)
		return ok && field.Sel.Name == "Status" && info.Selections[field] != nil && isSession(info.Selections[field].Recv())
	}
	switch n := n.(type) {
	case *ast.AssignStmt:
		return slices.ContainsFunc(n.Lhs, isStatus)
	case *ast.UnaryExpr:
		return n.Op == token.AND && isStatus(n.X)
	case *ast.CompositeLit:
		return isSession(info.Types[n].Type) && slices.ContainsFunc(n.Elts, func(e ast.Expr) bool {
			member, keyed := e.(*ast.KeyValueExpr)
			if !keyed {
				return true
			}
			name, ok := member.Key.(*ast.Ident)
			return ok && name.Name == "Status"
		})
	}
	return false
}

func isSession(of types.Type) bool {
	if p, ok := of.(*types.Pointer); ok {
		of = p.Elem()
	}
	return of != nil && of.String() == "berth/internal/session.Session"
}
