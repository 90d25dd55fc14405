package lifecycle

import (
	"bytes"
	"encoding/json"

	"berth/internal/session"
)

// maxMetadata is in bytes of JSON: metadata is for labels, not for documents.
const maxMetadata = 64 << 10

// normalMetadata returns metadata of any Go values in the form in which it is read from JSON, or a CodeInvalid error.
func normalMetadata(m session.Metadata) (session.Metadata, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // nil is valid metadata
	}
	var read session.Metadata
	text, err := json.Marshal(m)
	if err != nil || len(text) > maxMetadata {
		return nil, invalidMetadata()
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, invalidMetadata()
	}
	if err := read.Check(); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(read); err != nil || len(text) > maxMetadata {
		return nil, invalidMetadata()
	}
	return read, nil
}

func invalidMetadata() error {
	return session.Errorf(session.CodeInvalid, "the metadata must be a JSON object of at most %d bytes, with numbers written out", maxMetadata)
}

// sameMetadata reports whether both are equal, independent of the form in which earlier versions recorded them.
func sameMetadata(a, b session.Metadata) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
