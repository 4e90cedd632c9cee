"""The program that fetches and checks a model before its engine starts (images/model-tools)."""
