package access

import "berth/internal/session"

// Verb is a kind of request, as far as permissions go.
type Verb uint8

// Every verb.
const (
	Status    Verb = iota // Berth's status, without details
	Details               // the parts of answers that are not public
	List                  // all sessions
	Create                // a session
	Read                  // one session: its record, events, health and token's dates
	Write                 // start, stop, restart, upgrade, cancel
	Delete                // a session
	Logs                  // of a session's server
	Instances             // the processes that serve the same sessions
	Metrics               // the measurements
	Rotate                // a session's token
	Open                  // a session's server, through the proxy
	verbs                 // how many there are
)

// Reach is on which sessions a principal may use a verb.
type Reach uint8

// Every reach. A verb that is not about one session needs Any.
const (
	None Reach = iota // on no session
	Own               // on the session of its token
	Any               // on all sessions
)

// permissions say who may do what. The operator cannot open a session; the previous token cannot rotate the
// present one.
var permissions = [verbs][kinds]Reach{
	Status:    {Anonymous: Any, Operator: Any, SessionToken: Any, PreviousToken: Any},
	Details:   {Operator: Any},
	List:      {Operator: Any},
	Create:    {Operator: Any},
	Read:      {Operator: Any, SessionToken: Own, PreviousToken: Own},
	Write:     {Operator: Any},
	Delete:    {Operator: Any},
	Logs:      {Operator: Any},
	Instances: {Operator: Any},
	Metrics:   {Operator: Any},
	Rotate:    {Operator: Any, SessionToken: Own},
	Open:      {SessionToken: Own, PreviousToken: Own},
}

// Reaches says on which sessions principals of a kind may use a verb.
func Reaches(v Verb, k Kind) Reach { return permissions[v][k] }

// May reports whether a principal may use a verb on a session; the empty ID is no session.
func May(p Principal, v Verb, id session.ID) bool {
	switch Reaches(v, p.Kind) {
	case Any:
		return true
	case Own:
		return id != "" && id == p.Session
	default:
		return false
	}
}
