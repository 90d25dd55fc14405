package storage

import (
	"os"
	"testing"
)

// A full disk has no space for another copy of a file.
func TestFileThatHasTheTextIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	d := Dir(t.TempDir())
	put := func(text string) os.FileInfo {
		t.Helper()
		if err := d.put(placeFile, text); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(d.path(placeFile))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := put("here")
	if !os.SameFile(first, put("here")) {
		t.Error("it was written again")
	}
	if os.SameFile(first, put("there")) {
		t.Error("another text was not written")
	}
	if got, err := d.peek(placeFile); got != "there" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
