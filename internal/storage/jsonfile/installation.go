package jsonfile

import (
	"context"
	"encoding/json"
	"maps"
)

// installationMember of the envelope is the name of the sessions' installation, so that a file that is restored alone keeps
// its containers.
const installationMember = "instance"

// Installation returns the name of the sessions' installation; "" if the file has none.
func (s *Store) Installation() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var name string
	if json.Unmarshal(s.stored.extra[installationMember], &name) != nil {
		return ""
	}
	return name
}

// SetInstallation writes the name of the installation into the file.
func (s *Store) SetInstallation(ctx context.Context, name string) error {
	text, err := json.Marshal(name)
	if err != nil {
		return err
	}
	return s.submit(ctx, func(d *draft) (effect, error) {
		if string(d.extra[installationMember]) == string(text) {
			return nothing, nil
		}
		extra := maps.Clone(d.extra)
		if extra == nil {
			extra = map[string]json.RawMessage{}
		}
		extra[installationMember] = text
		d.extra = extra
		return grows, nil
	})
}
