// The face's own words. What the device hears and says comes from its voice and its content, not from here.

export const TEXTS = {
  en: {
    name: "English", days: ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    hint: "Ask me anything about the shop", say: (phrase) => `Say “${phrase}”`, ask: "You can ask", talk: "Hold to talk", talking: "I am listening",
    asleep: "", listening: "I am listening", hearing: "Go on", thinking: "One moment", speaking: "", away: "One moment please, I will be right back",
    large: "Larger text", contrast: "More contrast", languages: "Language", sight: "Display", today: (day, hours) => `${day}: ${hours}`,
  },
  de: {
    name: "Deutsch", days: ["Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"],
    hint: "Fragen Sie mich etwas über das Geschäft", say: (phrase) => `Sagen Sie „${phrase}“`, ask: "Zum Beispiel", talk: "Zum Sprechen halten", talking: "Ich höre zu",
    asleep: "", listening: "Ich höre zu", hearing: "Sprechen Sie weiter", thinking: "Einen Moment", speaking: "", away: "Einen Moment bitte, ich bin gleich zurück",
    large: "Größere Schrift", contrast: "Mehr Kontrast", languages: "Sprache", sight: "Anzeige", today: (day, hours) => `${day}: ${hours}`,
  },
  fr: {
    name: "Français", days: ["Dimanche", "Lundi", "Mardi", "Mercredi", "Jeudi", "Vendredi", "Samedi"],
    hint: "Posez-moi une question sur le magasin", say: (phrase) => `Dites « ${phrase} »`, ask: "Par exemple", talk: "Maintenir pour parler", talking: "Je vous écoute",
    asleep: "", listening: "Je vous écoute", hearing: "Continuez", thinking: "Un instant", speaking: "", away: "Un instant, je reviens tout de suite",
    large: "Texte plus grand", contrast: "Plus de contraste", languages: "Langue", sight: "Affichage", today: (day, hours) => `${day} : ${hours}`,
  },
  es: {
    name: "Español", days: ["Domingo", "Lunes", "Martes", "Miércoles", "Jueves", "Viernes", "Sábado"],
    hint: "Pregúnteme lo que quiera sobre la tienda", say: (phrase) => `Diga «${phrase}»`, ask: "Por ejemplo", talk: "Mantener para hablar", talking: "Le escucho",
    asleep: "", listening: "Le escucho", hearing: "Continúe", thinking: "Un momento", speaking: "", away: "Un momento, vuelvo enseguida",
    large: "Texto más grande", contrast: "Más contraste", languages: "Idioma", sight: "Pantalla", today: (day, hours) => `${day}: ${hours}`,
  },
};
