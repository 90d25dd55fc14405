package main

import (
	"fmt"
	"os"
	"path/filepath"
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

// chmod is the program chmod of the stub's image, as far as Berth uses it: "chmod -R u+rX DIRECTORY".
func chmod(args []string) int {
	if len(args) != 3 || args[0] != "-R" || args[1] != "u+rX" {
		fmt.Fprintf(os.Stderr, "chmod: %q is not understood\n", args)
		return exitUsage
	}
	if err := makeReadable(args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "chmod: %v\n", err)
		return exitBroken
	}
	return 0
}

// makeReadable changes a directory before it looks into it.
func makeReadable(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSymlink != 0 {
		return err
	}
	mode := info.Mode().Perm() | 0o400
	if !info.IsDir() {
		return os.Chmod(path, mode)
	}
	if err := os.Chmod(path, mode|0o100); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if err == nil {
			err = makeReadable(filepath.Join(path, e.Name()))
		}
	}
	return err
}
