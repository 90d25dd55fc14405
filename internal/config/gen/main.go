// Command gen writes docs/configuration.md and docker/.env.example.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"berth/internal/config"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen DOCUMENTATION EXAMPLE")
		os.Exit(2)
	}
	if err := errors.Join(write(os.Args[1], config.WriteDocs), write(os.Args[2], config.WriteExample)); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(name string, text func(io.Writer) error) error {
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
