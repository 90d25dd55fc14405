package origin

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"berth/internal/session"
)

// derived begins the labels that are derived from an ID. No ID that is used as its own label begins so.
const derived = "id--"

var labelEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Label returns the DNS label of a session: its ID where that is a label of a host name (RFC 1123, section 2.1), else one that
// is derived from it. Hyphens in the third and fourth place are reserved for encodings (RFC 5891, section 4.2.3.1).
func Label(id session.ID) string {
	text := string(id)
	if text != "" && !strings.Contains(text, "_") && !strings.HasSuffix(text, "-") && (len(text) < 4 || text[2:4] != "--") {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return derived + strings.ToLower(labelEncoding.EncodeToString(sum[:16]))
}

// IsDerived reports whether a label is derived from an ID, which it does not tell.
func IsDerived(label string) bool { return strings.HasPrefix(label, derived) }
