"""Dependencies of an environment: installed once per distinct set, in the user's interpreter."""
