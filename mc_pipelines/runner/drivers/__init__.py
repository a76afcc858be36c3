"""One module per place an execution can run on; all keep the contract of `runner.driver`."""
