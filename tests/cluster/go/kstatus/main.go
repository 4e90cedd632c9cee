// Says of objects what kstatus makes of them: a JSON list comes in, a JSON list of words goes out.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		log.Fatal(err)
	}
	words := []string{}
	for _, object := range objects {
		result, err := status.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			log.Fatal(err)
		}
		words = append(words, result.Status.String())
	}
	if err := json.NewEncoder(os.Stdout).Encode(words); err != nil {
		log.Fatal(err)
	}
}
