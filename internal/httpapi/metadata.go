package httpapi

import (
	"bytes"
	"encoding/json"
	"math"

	"github.com/danielgtaylor/huma/v2"
)

// jsonFormat is the framework's JSON format with the checks of [checkJSON]. A body is first decoded without its type, to validate
// it against the schema; there, a number that float64 cannot represent is no error. The handler's value is decoded from the
// text again.
func jsonFormat() huma.Format {
	return huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshalJSON}
}

func unmarshalJSON(text []byte, to any) error {
	if err := checkJSON(text); err != nil {
		return err
	}
	generic, ok := to.(*any)
	if !ok {
		return json.Unmarshal(text, to)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return err
	}
	*generic = withFloats(value)
	return nil
}

// withFloats replaces numbers by the nearest float64 in place and returns the value.
func withFloats(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = withFloats(member)
		}
	case []any:
		for i, element := range v {
			v[i] = withFloats(element)
		}
	case json.Number:
		number, _ := v.Float64() // with an error it is infinite
		return max(-math.MaxFloat64, min(number, math.MaxFloat64))
	}
	return value
}
