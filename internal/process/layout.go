package process

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"berth/internal/session"
)

const (
	containersDir = "containers"
	volumesDir    = "volumes" // beside the containers, because volumes stay when a container is removed
	trashDir      = "trash"   // directories that are being removed
)

func (r *Runtime) volumeDir(name, volume string) string {
	return filepath.Join(r.dir, volumesDir, name, volume)
}

func (c *container) logFile() string { return filepath.Join(c.dir, "log") }
func (c *container) home() string    { return filepath.Join(c.dir, "home") }
func (c *container) tmp() string     { return filepath.Join(c.dir, "tmp") }

// makeVolumes makes the volumes that do not exist yet.
func (r *Runtime) makeVolumes(name string, profile session.Profile) error {
	for _, v := range profile.Volumes {
		if !safeName.MatchString(v.Name) {
			return session.Errorf(session.CodeInvalid, "volume name %q cannot be a directory", v.Name)
		}
		if err := os.MkdirAll(r.volumeDir(name, v.Name), 0o700); err != nil {
			return failure("make the volumes of "+name, err)
		}
	}
	return nil
}

// prepareHome recreates the container's own directories: empty, but for links to volumes. A volume below /home/<user> in the
// container is linked at the same path below the process's HOME.
func (r *Runtime) prepareHome(c *container) error {
	for _, dir := range []string{c.home(), c.tmp()} {
		if err := removeAll(dir); err != nil {
			return fmt.Errorf("empty %s: %w", dir, err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return failure("make a directory of "+c.name, err)
		}
	}
	for _, v := range c.record.Profile.Volumes {
		path, ok := belowHome(v.Path)
		if !ok {
			continue
		}
		link := filepath.Join(c.home(), path)
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			return failure("make the home of "+c.name, err)
		}
		if err := os.Symlink(r.volumeDir(c.name, v.Name), link); err != nil {
			return failure("link volume "+v.Name, err)
		}
	}
	return nil
}

// belowHome returns "a/b" for "/home/<user>/a/b".
func belowHome(path string) (string, bool) {
	rest, ok := strings.CutPrefix(filepath.Clean(path), "/home/")
	if !ok {
		return "", false
	}
	_, below, ok := strings.Cut(rest, "/")
	return below, ok
}

// moveToTrash moves a directory in one step to a path where it can be removed, which it returns. A missing directory is not
// an error, and has no such path.
func (r *Runtime) moveToTrash(dir string) (string, error) {
	trash := filepath.Join(r.dir, trashDir, rand.Text())
	err := os.Rename(dir, trash)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return trash, err
}

// removeAll removes a directory and its content, including directories without write permission, such as those of Go's module
// cache.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // a server may still run and replace directories by links
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	_ = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = root.Chmod(path, 0o700) // before it is read
		}
		return nil
	})
	return os.RemoveAll(dir)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, removeAll(filepath.Join(dir, e.Name())))
	}
	return err
}
