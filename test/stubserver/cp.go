package main

import (
	"fmt"
	"os"
	"strings"
)

// cp is the program cp of the stub's image, as far as Berth uses it: "cp -a FROM/. TO/".
func cp(args []string) int {
	if len(args) != 3 || args[0] != "-a" || !strings.HasSuffix(args[1], "/.") {
		fmt.Fprintf(os.Stderr, "cp: %q is not understood\n", args)
		return exitUsage
	}
	if err := os.CopyFS(args[2], os.DirFS(args[1])); err != nil {
		fmt.Fprintf(os.Stderr, "cp: %v\n", err)
		return exitBroken
	}
	return 0
}
