package model

import (
	"bytes"
	"encoding/json"
	"slices"
)

// judged is a request body that may be sent.
type judged struct {
	body   []byte
	model  string
	stream bool
	output int64 // most tokens that it asks for; 0: not said
	times  int64 // answers that it asks for, 1 or more
}

// maxAnswers is the number of answers that one call may ask for.
const maxAnswers = 8

// judge decides whether a body may be sent to a provider, and returns it as the provider gets it: its members as they are, except
// those that say whether the answer is kept, and whether a stream has the count of tokens.
func (o operation) judge(p policy, allowed func(model string) bool, text []byte) (judged, *refusal) {
	body, err := parseStrict(text)
	if err != nil {
		return judged{}, refuse(RuleBody, "the request body is refused: %v", err)
	}
	if !body.isObject() {
		return judged{}, refuse(RuleBody, "the request body must be a JSON object")
	}
	j := judged{model: o.model, stream: o.stream, times: 1}
	for name, member := range body.members() {
		if r := o.member(p, name, member); r != nil {
			return judged{}, r
		}
		if r := j.note(name, member); r != nil {
			return judged{}, r.within(name)
		}
	}
	switch {
	case j.model == "":
		return judged{}, refuse(RuleBody, "the request body must name its model")
	case !allowed(j.model):
		return judged{}, refuse(RuleModel, "the model %.100q is not one of this provider's models that the operator has allowed", j.model)
	}
	j.body = o.write(j.stream, body)
	return j, nil
}

// member judges one member of the body.
func (o operation) member(p policy, name string, member value) *refusal {
	of, known := o.members[name]
	if !known {
		if slices.Contains(p.parameters, name) {
			return nil
		}
		return unknown(name)
	}
	return of(p, member).within(name)
}

// note keeps what the gateway itself needs to know.
func (j *judged) note(name string, member value) *refusal {
	count := func(into *int64, most int64) *refusal {
		n, ok := member.number()
		if !ok && !member.isNull() || n > most {
			return refuse(RuleBody, "must be a whole number, and at most %d", most)
		}
		*into = max(*into, n)
		return nil
	}
	const mostTokens = 1 << 30
	switch name {
	case "model":
		if j.model = member.text(); j.model == "" {
			return refuse(RuleBody, "must be the name of a model")
		}
	case "stream":
		if !member.isTrue() && !member.isNull() && string(member) != "false" {
			return refuse(RuleBody, "must be true or false")
		}
		j.stream = member.isTrue()
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		return count(&j.output, mostTokens)
	case "n":
		return count(&j.times, maxAnswers)
	case "generationConfig":
		for name, inner := range member.members() {
			member = inner
			var r *refusal
			switch name {
			case "maxOutputTokens":
				r = count(&j.output, mostTokens)
			case "candidateCount":
				r = count(&j.times, maxAnswers)
			}
			if r != nil {
				return r.within("." + name)
			}
		}
	}
	return nil
}

// write is the body with the members that the gateway writes itself in place of those that were given.
func (o operation) write(stream bool, body value) []byte {
	var name, own string
	switch {
	case o.api == apiResponses:
		name, own = "store", "false"
	case o.api == apiChat && stream:
		name, own = "stream_options", `{"include_usage":true}`
		if given := body.member(name); given != nil && given.member("include_obfuscation") != nil && !given.member("include_obfuscation").isTrue() {
			own = `{"include_usage":true,"include_obfuscation":false}`
		}
	}
	var out bytes.Buffer
	out.Grow(len(body) + 64)
	out.WriteByte('{')
	for given, member := range body.members() {
		if given != name {
			writeMember(&out, given, member)
		}
	}
	if name != "" {
		writeMember(&out, name, value(own))
	}
	out.WriteByte('}')
	return out.Bytes()
}

func writeMember(out *bytes.Buffer, name string, member value) {
	if out.Len() > 1 {
		out.WriteByte(',')
	}
	text, _ := json.Marshal(name)
	out.Write(text)
	out.WriteByte(':')
	out.Write(member)
}
