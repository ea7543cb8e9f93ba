"""Every kind of config of MMDetection's and MMPretrain's zoos, distilled for a step."""
