package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
)

// hide writes a file to the state that its own user may not read, and returns the previous content.
func (s *server) hide(w http.ResponseWriter, _ *http.Request) {
	dir := filepath.Join(s.state, "hidden")
	file := filepath.Join(dir, "file")
	found, err := unhide(dir, file)
	if err == nil {
		err = errors.Join(os.WriteFile(file, []byte("kept"), 0o600), os.Chmod(file, 0), os.Chmod(dir, 0))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]string{"found": string(found)})
}

func unhide(dir, file string) ([]byte, error) {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chmod(file, 0o600)); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}
