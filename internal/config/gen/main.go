// Command gen writes docs/configuration.md. It knows where the text comes from, and nothing of the text.
package main

import (
	"bytes"
	"fmt"
	"os"

	"berth/internal/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FILE")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(name string) error {
	var b bytes.Buffer
	if err := config.WriteDocs(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
